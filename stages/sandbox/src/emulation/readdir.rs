//! `getdents64`: directories are listed in an order that depends on the names in them only. File systems list them by a hash
//! with a secret of their own, or by age.
//!
//! The place where a program reads is in its descriptor, whose offset is set here. What is behind it is remembered for the next
//! call, which mostly is that of the same program; others read the directory again, and so does who begins. `/proc` is left as it is: whatever is in there comes and goes anyway.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::fs::{FileType, Mode, OFlags, RawDir, SeekFrom, fcntl_getfl, fstat, fstatfs, openat, seek};

use super::entries::{Entry, Filled, Format, Places};
use super::{Answer, Call, Emulation, Programs, Stop, When};
use crate::visible_machine::ReaddirOrder;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Answers what is in a directory.
pub(crate) struct Readdir {
    places: Places,
    rest: Option<Rest>,
}

/// What is left of a directory behind a place.
struct Rest {
    /// The file system, the inode and the place.
    of: (u64, u64, u64),
    entries: Vec<Entry>,
}

impl Readdir {
    pub(crate) fn new(order: ReaddirOrder) -> Self {
        Self { places: Places::new(order), rest: None }
    }
}

/// The calls, by the programs that make them, and how they write. No C library for i386 has used those of old for twenty years:
/// `getdents` and `readdir`, which this kernel does not have. That of amd64 was in use up to Debian 9.
const CALLS: &[(Programs, u32, Option<Format>)] = &[
    (Programs::Native, libc::SYS_getdents64 as u32, Some(Format::Present)),
    #[cfg(target_arch = "x86_64")]
    (Programs::Native, libc::SYS_getdents as u32, Some(Format::Old)),
    #[cfg(target_arch = "x86_64")]
    (Programs::I386, 220, Some(Format::Present)),
    #[cfg(target_arch = "x86_64")]
    (Programs::I386, 141, None),
    #[cfg(target_arch = "x86_64")]
    (Programs::I386, 89, None),
];

impl Emulation for Readdir {
    fn stops(&self) -> Vec<Stop> {
        let stop = |(programs, call, _): &(Programs, u32, Option<Format>)| Stop {
            programs: *programs,
            call: *call,
            when: When::Always,
        };
        CALLS.iter().map(stop).collect()
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let this =
            CALLS.iter().find(|(programs, number, _)| (*programs, *number) == (call.programs, call.number));
        let format = this.and_then(|(.., format)| *format).ok_or(Errno::ENOSYS)?;
        let [fd, address, room, ..] = call.arguments;
        // What is no open directory has an error that the kernel knows.
        let Some(directory) = call.caller.descriptor(fd as i32)?.filter(is_ours) else {
            return Ok(Answer::LeaveToKernel);
        };
        let place = seek(&directory, SeekFrom::Current(0))?;
        let stat = fstat(&directory)?;
        let mut left = self.left(&directory, (stat.st_dev, stat.st_ino, place))?;
        if left.is_empty() {
            return Ok(Answer::Value(0));
        }
        let Filled { bytes, place, count } =
            self.places.fill(format, &left, room as u32 as usize).ok_or(Errno::EINVAL)?;
        call.caller.write(address, &bytes)?;
        seek(&directory, SeekFrom::Start(place))?;
        let entries = left.split_off(count);
        self.rest = Some(Rest { of: (stat.st_dev, stat.st_ino, place), entries });
        Ok(Answer::Value(bytes.len() as i64))
    }
}

impl Readdir {
    /// The entries behind a place of a directory, in order.
    fn left(&mut self, directory: &OwnedFd, of: (u64, u64, u64)) -> io::Result<Vec<Entry>> {
        match self.rest.take().filter(|rest| rest.of == of) {
            Some(rest) => Ok(rest.entries),
            None => Ok(self.places.behind(of.2, entries(directory)?).ok_or(Errno::EINVAL)?),
        }
    }
}

/// Whether a descriptor can be read as a directory, and is to be.
fn is_ours(fd: &OwnedFd) -> bool {
    let is_directory = fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    let is_open = fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(OFlags::PATH));
    let is_proc = fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 == PROC_SUPER_MAGIC);
    is_directory && is_open && !is_proc
}

/// All entries, in whatever order. A descriptor of its own leaves the caller's where it is.
fn entries(directory: &OwnedFd) -> io::Result<Vec<Entry>> {
    const AT_A_TIME: usize = 1 << 16;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = openat(directory, ".", flags, Mode::empty())?;
    let mut buffer = vec![MaybeUninit::uninit(); AT_A_TIME];
    let (mut listing, mut entries) = (RawDir::new(own, &mut buffer), Vec::new());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let (inode, kind) = (entry.ino(), kind(entry.file_type()));
        entries.push(Entry { inode, kind, name: entry.file_name().to_bytes().to_vec() });
    }
    Ok(entries)
}

fn kind(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => libc::DT_REG,
        FileType::Directory => libc::DT_DIR,
        FileType::Symlink => libc::DT_LNK,
        FileType::Fifo => libc::DT_FIFO,
        FileType::Socket => libc::DT_SOCK,
        FileType::CharacterDevice => libc::DT_CHR,
        FileType::BlockDevice => libc::DT_BLK,
        FileType::Unknown => libc::DT_UNKNOWN,
    }
}
