//! Pages of a file that a program may change without moving the file's times.
//!
//! The kernel moves the times of a file at the first write through a shared mapping (`mmap`) to each page. Until it has written that
//! page to the disk, up to half a minute later, further writes through the mapping go unnoticed. Written pages are write-protected
//! again. So the times of a file without unwritten pages show every later change.
//! Source: `folio_mkclean` and `file_update_time` of Linux; `cachestat(2)` (Linux 6.5), `sync_file_range(2)`, `mmap(2)`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::FsWord;

/// File systems in memory write nothing, and move no times for a mapping. Source: `statfs(2)`.
const IN_MEMORY: [FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// `cachestat(2)`, which has the same number on every architecture. Source: `include/uapi/asm-generic/unistd.h`.
const SYS_CACHESTAT: libc::c_long = 451;

/// Whether a mapping that somebody has of this file could change it and leave its times. `true` if that cannot be found out.
pub(crate) fn may_change_unseen(file: &File) -> bool {
    !rustix::fs::fstatfs(file).is_ok_and(|kind| !IN_MEMORY.contains(&kind.f_type))
        || unwritten_pages(file).map_or_else(|_| write_out(file).is_err(), |pages| pages > 0)
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

/// Has the file's pages written, and waits for that.
fn write_out(file: &File) -> io::Result<()> {
    let how =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a descriptor and numbers.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, how) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_unwritten_pages_until_it_is_written_out() {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        // A busy kernel may write them at once.
        let is_seen = |_| {
            std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[1; 3 * 4096], 0).unwrap();
            may_change_unseen(file.as_file())
        };
        assert!((0..1000).any(is_seen));
        write_out(file.as_file()).unwrap();
        assert!(!may_change_unseen(file.as_file()));
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
