//! Read-ahead: a file is read from the disk before somebody looks at it, beside work that leaves the disk alone.

use std::fs::{self, File};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fs::{Advice, fadvise};

/// Bytes that the kernel is asked to read at a time. It makes us wait when it has enough to do.
const PORTION: u64 = 4 << 20;

/// A file stays in memory where there is room for so many of its size: it must not push out what is needed more.
const ROOM: u64 = 4;

/// A file on its way into memory. It ends with this value, wherever it is.
///
/// That is advice to the kernel and nothing more: whether it is followed changes no byte.
#[derive(Debug)]
pub struct ReadAhead {
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Begins to read what of a file is not in memory, unless it does not [fit](fits_in_memory) there, or cannot be read.
    pub fn begin(path: &Path) -> Self {
        let is_ended = Arc::new(AtomicBool::new(false));
        let wanted = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        // A few missing pages, each of which is waited for, take longer than to ask for those that are there.
        let wanted = wanted.ok().filter(|(size, _)| fits_in_memory(*size));
        let thread = wanted.and_then(|(size, file)| {
            let is_ended = is_ended.clone();
            thread::Builder::new().spawn(move || read(&file, size, &is_ended)).ok()
        });
        Self { is_ended, thread }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Only asks: to read them would take a processor as well, which has other work.
fn read(file: &File, size: u64, is_ended: &AtomicBool) {
    let portions = (0..size).step_by(PORTION as usize);
    for start in portions.take_while(|_| !is_ended.load(Ordering::Relaxed)) {
        let _ = fadvise(file, start, NonZeroU64::new(PORTION), Advice::WillNeed);
    }
}

/// Whether a file of so many bytes may stay in memory as a whole. Where that cannot be told, it may not.
pub fn fits_in_memory(size: u64) -> bool {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    available(&told).is_some_and(|available| size.saturating_mul(ROOM) <= available)
}

/// The bytes that can be had without taking memory from a program (proc_meminfo(5)).
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::is_in_memory;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_file_comes_into_memory() {
        let mut temp = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let size = 33 * MIB;
        temp.write_all(&vec![7; size as usize]).unwrap();
        let file = temp.as_file();
        file.sync_data().unwrap();
        fadvise(file, 0, None, Advice::DontNeed).unwrap();
        assert!(!is_in_memory(file, size));
        let mut ahead = ReadAhead::begin(temp.path());
        ahead.thread.take().expect("it is to be read").join().unwrap();
        // The kernel has been asked, and may be at it still.
        while !is_in_memory(file, size) {
            thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_be_read_or_has_no_room_is_left_alone() {
        assert!(ReadAhead::begin(Path::new("/nonexistent")).thread.is_none());
        let huge = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        huge.as_file().set_len(1 << 43).unwrap();
        assert!(ReadAhead::begin(huge.path()).thread.is_none());
    }

    #[test]
    fn a_file_fits_where_there_is_room_for_several() {
        assert!(fits_in_memory(1));
        assert!(!fits_in_memory(u64::MAX));
        let told = "MemTotal:       24684096 kB\nMemFree: 1 kB\nMemAvailable:   23929504 kB\n";
        assert_eq!(available(told), Some(23_929_504 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }
}
