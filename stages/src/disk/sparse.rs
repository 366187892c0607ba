//! Sparse files: which parts of one hold data, giving back what holds none, and copying one as it is.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::start_writing;
#[cfg(test)]
use rustix::fs::{FallocateFlags, fallocate};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::error::DiskError;

const COPY_CHUNK: usize = 1 << 20;

/// The ranges of `file` that may hold anything but zeros, in order. Moves the file's cursor.
pub fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
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
#[cfg(test)]
pub fn release_holes(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut hole = 0;
    for data in data_ranges(file)? {
        punch(file, hole..data.start)?;
        hole = data.end;
    }
    punch(file, hole..length)
}

#[cfg(test)]
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

/// Copies `from` to a new file `to`, data only: holes stay holes.
pub fn copy(from: &Path, to: &Path, progress: super::Progress<'_>) -> Result<(), DiskError> {
    let read = DiskError::io("read the disk", from);
    let write = |error| DiskError::io("write the disk", to)(error);
    let source = File::open(from).map_err(DiskError::io("open the disk", from))?;
    let plan = source.metadata().and_then(|meta| Ok((meta.len(), data_ranges(&source)?)));
    let (length, ranges) = plan.map_err(read)?;
    let target = File::create(to).map_err(DiskError::io("create the disk", to))?;
    target.set_len(length).map_err(write)?;
    let total = ranges.iter().map(|range| range.end - range.start).sum();
    let mut done = 0;
    let mut buffer = vec![0; COPY_CHUNK];
    for range in ranges {
        for start in range.clone().step_by(COPY_CHUNK) {
            let chunk = &mut buffer[..(range.end - start).min(COPY_CHUNK as u64) as usize];
            source.read_exact_at(chunk, start).map_err(DiskError::io("read the disk", from))?;
            target.write_all_at(chunk, start).map_err(write)?;
            done += chunk.len() as u64;
            start_writing(&target, start..start + chunk.len() as u64);
            progress(done, total);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

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
    fn a_copy_is_equal_and_as_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (sparse_file(dir.path()), dir.path().join("copy"));
        copy(&from, &to, &|_, _| {}).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        assert_eq!(from.metadata().unwrap().blocks(), to.metadata().unwrap().blocks());
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
