//! Lets the disk write a file while more of it is made, so that little is left to wait for when it is made durable.
//!
//! That it does is only hoped for: what counts is the flush at the end.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

use crate::drop_behind::DropBehind;

/// How many bytes may wait in memory before the disk is asked to write them.
pub(crate) const LAZY: u64 = 8 << 20;

/// A file that is written from its beginning to its end, and of which only the end [stays in memory](DropBehind).
#[derive(Debug)]
pub struct EagerFile {
    file: File,
    written: u64,
    on_its_way: u64,
    behind: DropBehind,
}

impl EagerFile {
    /// A file that is empty.
    pub fn new(file: File) -> Self {
        Self { file, written: 0, on_its_way: 0, behind: DropBehind::default() }
    }
}

impl Write for EagerFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written - self.on_its_way >= LAZY {
            start_writing(&self.file, self.on_its_way..self.written);
            self.behind.passed(&self.file, self.on_its_way..self.written);
            self.on_its_way = self.written;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Asks the disk to begin with these bytes of a file, and does not wait for it.
pub fn start_writing(file: &File, bytes: Range<u64>) {
    use std::os::fd::AsRawFd;
    let (start, length) = (bytes.start as i64, (bytes.end - bytes.start) as i64);
    // SAFETY: one system call on an open descriptor, without memory.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_written_arrives() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let mut file = EagerFile::new(temp.reopen().unwrap());
        let bytes: Vec<u8> = (0..3 * LAZY).map(|n| (n % 251) as u8).collect();
        bytes.chunks(1 << 20).for_each(|some| file.write_all(some).unwrap());
        assert_eq!(file.on_its_way, 3 * LAZY);
        assert!(std::fs::read(temp.path()).unwrap() == bytes);
    }
}
