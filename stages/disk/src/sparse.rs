//! Gives back the parts of a sparse file that hold nothing.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// The ranges of `file` that may hold anything but zeros, in order. Moves the file's cursor.
fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(ranges),
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?;
        ranges.push(start..at);
    }
}

/// Gives back blocks that are allocated but were never written.
///
/// `mke2fs` clears its inode tables and journal by asking for zeroed extents, which keeps their blocks:
/// 1.8 GB in a disk of 100 GB.
pub fn release_holes(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut hole = 0;
    for data in data_ranges(file)? {
        punch(file, hole..data.start)?;
        hole = data.end;
    }
    punch(file, hole..length)
}

fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end - range.start) {
        // Some file systems know holes but cannot make them: the file then stays as it is.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;

    use super::*;

    fn sparse_file(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[2; 4096], 5 << 20).unwrap();
        path
    }

    #[test]
    fn ranges_cover_all_data() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(sparse_file(dir.path())).unwrap();
        let ranges = data_ranges(&file).unwrap();
        for byte in [1 << 20, (1 << 20) + 4095, 5 << 20] {
            assert!(ranges.iter().any(|range| range.contains(&byte)), "{byte} in {ranges:?}");
        }
        assert!(data_ranges(&tempfile::tempfile().unwrap()).unwrap().is_empty());
    }

    #[test]
    fn unwritten_blocks_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = sparse_file(dir.path());
        let file = File::options().write(true).read(true).open(&path).unwrap();
        let before = file.metadata().unwrap().blocks();
        // A file system without this keeps nothing to give back.
        let _ = fallocate(&file, FallocateFlags::ZERO_RANGE, 2 << 20, 1 << 20);
        release_holes(&file).unwrap();
        assert!(file.metadata().unwrap().blocks() <= before);
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5 << 20).unwrap();
        assert_eq!(byte, [2]);
    }
}
