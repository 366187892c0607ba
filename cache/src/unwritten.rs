//! Files that a program may change without moving their times.
//!
//! The kernel moves the times of a file at the first write through a shared mapping (`mmap`) to each page. Until it has written that
//! page to the disk, up to half a minute later, further writes through the mapping go unnoticed. Written pages are write-protected
//! again. So the times of a file show every later change if it has no unwritten pages, or if nobody has it open for writing: a
//! mapping that can be written to holds such an open file.
//! Source: `folio_mkclean` and `file_update_time` of Linux; `cachestat(2)` (Linux 6.5), `F_SETLEASE` of `fcntl(2)`, `mmap(2)`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::FsWord;

/// ext4, XFS, Btrfs, F2FS: those of which all this is known. Of others it is not so: those in memory write nothing, and move no times
/// for a mapping; an overlay has no pages of its own, and its files are mapped as those below. Source: `statfs(2)`.
const KNOWN: [FsWord; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// `cachestat(2)`, which has the same number on every architecture. Source: `include/uapi/asm-generic/unistd.h`.
const SYS_CACHESTAT: libc::c_long = 451;

/// Source: `include/uapi/asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Whether a mapping that somebody has of this file could change it and leave its times. `true` if that cannot be found out.
pub(crate) fn may_change_unseen(file: &File) -> bool {
    !rustix::fs::fstatfs(file).is_ok_and(|kind| KNOWN.contains(&kind.f_type))
        || !(unwritten_pages(file).is_ok_and(|pages| pages == 0) || nobody_writes(file))
}

/// The number of pages in memory that differ from the disk. An error from a kernel that cannot tell, or does not tell this user.
fn unwritten_pages(file: &File) -> io::Result<u64> {
    /// `struct cachestat_range`: no length means the end of the file.
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    /// `struct cachestat`.
    #[repr(C)]
    #[derive(Default)]
    struct Pages {
        cached: u64,
        dirty: u64,
        in_writing: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let whole = Range { offset: 0, length: 0 };
    let mut pages = Pages::default();
    // SAFETY: both structures have the layout of the kernel's and outlive the call; the kernel writes only to the second.
    let status = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            std::ptr::from_ref(&whole),
            std::ptr::from_mut(&mut pages),
            0_u32,
        )
    };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(pages.dirty) }
}

/// Whether no process has the file open for writing, as far as the kernel grants a lease on that. The lease is returned at once;
/// who opens the file for writing meanwhile waits for that moment, or is refused with EWOULDBLOCK if it asked not to wait. `file` is open
/// for reading only.
fn nobody_writes(file: &File) -> bool {
    let control = |command, argument: libc::c_int| {
        // SAFETY: a descriptor and numbers.
        unsafe { libc::fcntl(file.as_raw_fd(), command, argument) == 0 }
    };
    // By default, the signal that somebody waits would end the process. This one is ignored by default.
    control(F_SETSIG, libc::SIGURG)
        && control(libc::F_SETLEASE, libc::F_RDLCK)
        && control(libc::F_SETLEASE, libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_for_writing_may_until_it_is_on_the_disk() {
        let written = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let file = File::open(written.path()).unwrap();
        // A busy kernel may write pages at once.
        let is_seen = |_| {
            std::os::unix::fs::FileExt::write_all_at(written.as_file(), &[1; 3 * 4096], 0).unwrap();
            may_change_unseen(&file)
        };
        assert!((0..1000).any(is_seen));
        written.as_file().sync_all().unwrap();
        assert!(!may_change_unseen(&file));
    }

    #[test]
    fn what_nobody_has_open_for_writing_may_not() {
        let mut written = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        std::io::Write::write_all(&mut written, &[1; 3 * 4096]).unwrap();
        let file = File::open(written.path()).unwrap();
        assert!(!nobody_writes(&file));
        let path = written.into_temp_path();
        assert!(nobody_writes(&file));
        assert!(!may_change_unseen(&file));
        assert!(nobody_writes(&file), "the lease was returned");
        File::options().write(true).open(&path).unwrap();
    }

    #[test]
    fn an_empty_file_has_none() {
        assert!(!may_change_unseen(tempfile::NamedTempFile::new_in("/var/tmp").unwrap().as_file()));
    }

    #[test]
    fn files_in_memory_always_may() {
        assert!(may_change_unseen(tempfile::NamedTempFile::new_in("/dev/shm").unwrap().as_file()));
    }
}
