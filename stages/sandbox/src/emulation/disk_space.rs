//! `statfs`: every file system that has room says the same of it, and not how full the disk below the store or how large the
//! memory of the host is. Its kind, its flags and the length of names are its own, and one without room stays so. Of the root it
//! is not told whether devices can be opened there, which depends on who builds.
//!
//! Paths are followed from the caller's root and directory, with the rights of init: a user can ask of a directory that it may
//! not enter. What init does not find is left to the kernel, which knows the right error. So are paths through a link of
//! `/proc` that leads to an open file or a process's directory: for init, `/proc/self` is another one.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatFs, fstatfs, openat2};

use super::place::OwnRoot;
use super::{Answer, Call, Emulation, Programs, Stop, When};
use crate::mounts::SetupResult;
use crate::visible_machine::DiskSpace;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// Bytes of the disk for each inode.
const PER_INODE: u64 = 16 << 10;

/// The kind of a stage's root, which has room whatever the disk below the store says.
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;

/// Answers how much space there is.
pub(crate) struct FreeSpace {
    space: DiskSpace,
    own_root: OwnRoot,
}

impl FreeSpace {
    /// For a process that is in the root of the payload already.
    pub(crate) fn new(space: DiskSpace) -> SetupResult<Self> {
        Ok(Self { space, own_root: OwnRoot::new()? })
    }

    /// The file that a call means, if it is found.
    fn file(&self, call: &Call<'_>, by: By) -> io::Result<OwnedFd> {
        match by {
            By::Descriptor => call.caller.open(&format!("fd/{}", call.arguments[0] as RawFd)),
            By::Path => {
                let path = call.caller.c_string(call.arguments[0])?;
                let base = call.caller.base(libc::AT_FDCWD)?;
                self.own_root.act_at(call.caller, &base, || {
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    Ok(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?)
                })
            }
        }
    }
}

/// How a call names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Path,
    Descriptor,
}

/// How a call writes its answer, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct statfs` of linux/asm-generic/statfs.h, all of whose numbers are words of the program.
    Words,
    /// `struct compat_statfs64`: words of 32 bits, but for the counts. The second argument is its size.
    #[cfg(target_arch = "x86_64")]
    WideCounts,
}

/// A call, and what is said to it. To one without a form: that this kernel does not have it.
struct Door {
    programs: Programs,
    call: u32,
    form: Option<(By, Layout)>,
}

const fn door(programs: Programs, call: u32, by: By, layout: Layout) -> Door {
    Door { programs, call, form: Some((by, layout)) }
}

/// `ustat`, which takes the number of a device, has been in no C library for years.
const DOORS: &[Door] = &[
    door(Programs::Native, libc::SYS_statfs as u32, By::Path, Layout::Words),
    door(Programs::Native, libc::SYS_fstatfs as u32, By::Descriptor, Layout::Words),
    #[cfg(target_arch = "x86_64")]
    Door { programs: Programs::Native, call: libc::SYS_ustat as u32, form: None },
    #[cfg(target_arch = "x86_64")]
    door(Programs::I386, 99, By::Path, Layout::Words),
    #[cfg(target_arch = "x86_64")]
    door(Programs::I386, 100, By::Descriptor, Layout::Words),
    #[cfg(target_arch = "x86_64")]
    door(Programs::I386, 268, By::Path, Layout::WideCounts),
    #[cfg(target_arch = "x86_64")]
    door(Programs::I386, 269, By::Descriptor, Layout::WideCounts),
    #[cfg(target_arch = "x86_64")]
    Door { programs: Programs::I386, call: 62, form: None },
];

impl Emulation for FreeSpace {
    fn stops(&self) -> Vec<Stop> {
        let stop = |door: &Door| Stop { programs: door.programs, call: door.call, when: When::Always };
        DOORS.iter().map(stop).collect()
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let is_this = |door: &&Door| (door.programs, door.call) == (call.programs, call.number);
        let (by, layout) = DOORS.iter().find(is_this).and_then(|door| door.form).ok_or(Errno::ENOSYS)?;
        let address = layout.address(call)?;
        let Ok(file) = self.file(call, by) else { return Ok(Answer::LeaveToKernel) };
        let answer = Shown::of(&fstatfs(file)?, self.space).bytes(layout, call.programs.word());
        call.caller.write(address, &answer)?;
        Ok(Answer::Value(0))
    }
}

impl Layout {
    /// Where the answer goes.
    fn address(self, call: &Call<'_>) -> io::Result<u64> {
        match self {
            Self::Words => Ok(call.arguments[1]),
            #[cfg(target_arch = "x86_64")]
            Self::WideCounts if call.arguments[1] != WIDE_COUNTS_SIZE => Err(Errno::EINVAL.into()),
            #[cfg(target_arch = "x86_64")]
            Self::WideCounts => Ok(call.arguments[2]),
        }
    }
}

/// Bytes of a `struct compat_statfs64`.
#[cfg(target_arch = "x86_64")]
const WIDE_COUNTS_SIZE: u64 = 84;

/// What is said of a file system.
struct Shown {
    kind: u64,
    block: u64,
    /// Blocks, and those that are free for root and for others; files, and how many more there can be.
    counts: [u64; 5],
    name_length: u64,
    flags: u64,
}

impl Shown {
    fn of(real: &StatFs, space: DiskSpace) -> Self {
        let is_overlay = real.f_type as u64 == OVERLAYFS_SUPER_MAGIC;
        let has_room = real.f_blocks != 0 || is_overlay;
        let hidden_flags = if is_overlay { libc::ST_NODEV } else { 0 };
        // What has no room, as `/proc`, has no blocks and no files to count, and tells of nothing but itself.
        let counts = if has_room {
            let [blocks, free] = [space.size, space.free].map(|bytes| bytes / BLOCK);
            [blocks, free, free, space.size / PER_INODE, space.free / PER_INODE]
        } else {
            [0; 5]
        };
        Self {
            kind: real.f_type as u64,
            block: if has_room { BLOCK } else { real.f_bsize as u64 },
            counts,
            name_length: real.f_namelen as u64,
            flags: real.f_flags as u64 & !hidden_flags,
        }
    }

    /// The kernel's structure. No file system has an id, which would be another one in each run.
    fn bytes(&self, layout: Layout, word: usize) -> Vec<u8> {
        const SPARE: [u64; 4] = [0; 4];
        let count = match layout {
            Layout::Words => word,
            #[cfg(target_arch = "x86_64")]
            Layout::WideCounts => 8,
        };
        let mut bytes = Vec::new();
        let mut put = |numbers: &[u64], width: usize| {
            numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()[..width]));
        };
        put(&[self.kind, self.block], word);
        put(&self.counts, count);
        put(&[0, 0], 4);
        put(&[self.name_length, self.block, self.flags], word);
        put(&SPARE, word);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: DiskSpace = DiskSpace { size: 1 << 40, free: 3 << 38 };

    fn shown(path: &str) -> Shown {
        Shown::of(&rustix::fs::statfs(path).unwrap(), SPACE)
    }

    #[test]
    fn the_structure_is_that_of_the_kernel() {
        let bytes = shown("/").bytes(Layout::Words, 8);
        assert_eq!(bytes.len(), size_of::<libc::statfs>());
        // SAFETY: the bytes are those of this plain C structure, and as many.
        let read: libc::statfs = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
        assert_eq!((read.f_blocks, read.f_bfree, read.f_bavail), (1 << 28, 3 << 26, 3 << 26));
        assert_eq!((read.f_files, read.f_ffree, read.f_bsize, read.f_frsize), (1 << 26, 3 << 24, 4096, 4096));
        let real = rustix::fs::statfs("/").unwrap();
        assert_eq!((read.f_type, read.f_namelen), (real.f_type as _, real.f_namelen as _));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn programs_of_32_bits_have_structures_of_their_own() {
        let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let words = shown("/").bytes(Layout::Words, 4);
        assert_eq!(
            (words.len(), number(&words, 4), number(&words, 8), number(&words, 40)),
            (64, 4096, 1 << 28, 4096)
        );
        let wide = shown("/").bytes(Layout::WideCounts, 4);
        assert_eq!((wide.len() as u64, number(&wide, 8), number(&wide, 12)), (WIDE_COUNTS_SIZE, 1 << 28, 0));
        assert_eq!((number(&wide, 56), number(&wide, 60)), (255, 4096));
    }

    #[test]
    fn what_has_no_room_stays_so() {
        let real = rustix::fs::statfs("/proc").unwrap();
        let shown = shown("/proc");
        assert_eq!(
            (shown.counts, shown.kind, shown.block),
            ([0; 5], real.f_type as u64, real.f_bsize as u64)
        );
    }
}
