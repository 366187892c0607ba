//! Which parts of a file have room on the disk, and which are holes.
//!
//! A file of zeros is not a file that is one hole: the first has blocks, which a swap file needs, and a program that wrote them
//! counts on them. So what has blocks is data in a tree, in a layer's tarball and on a disk, whatever its bytes are, and what has
//! none is a hole, in whole blocks of 4 KiB. Holes are never read.
//!
//! Once a layer is captured the file system tells one from the other ([`settle`](super::settle)); before that it may have blocks
//! that were asked for and never written, which look like holes to everybody who does not ask for them.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Size and alignment of holes, whatever the file system has: a page of the machines that images are for, and a block of their
/// file systems. A file that has no more is never a hole, because some file systems keep such files without any block.
pub(super) const BLOCK: u64 = 4096;

/// The parts of a file of `size` bytes that are no holes, in order, as far apart as they are. Moves the file's cursor.
pub fn parts(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut found = Parts::of(size);
    if size <= BLOCK {
        found.add(0..size);
    } else {
        written(file, size)?.into_iter().for_each(|part| found.add(part));
    }
    Ok(found.list)
}

/// The parts of a file of `size` bytes that the file system has bytes of, in blocks of its own. Moves the file's cursor.
pub(super) fn written(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // A file system that does not know holes has none.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e.into()),
        };
        at = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // It became shorter meanwhile, or does not know holes.
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => size,
            Err(e) => return Err(e.into()),
        };
        found.push(start..at);
    }
    Ok(found)
}

/// Whether these parts are all of a file.
pub(super) fn is_all(parts: &[Range<u64>], size: u64) -> bool {
    match parts {
        [] => size == 0,
        [one] => *one == (0..size),
        _ => false,
    }
}

/// What lies between these parts.
pub(super) fn holes(parts: &[Range<u64>], size: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let ends = parts.iter().map(|part| part.start).chain([size]);
    starts.zip(ends).map(|(start, end)| start..end).filter(|hole| !hole.is_empty())
}

/// Parts of a file that come in order, and become whole blocks.
pub(super) struct Parts {
    size: u64,
    pub list: Vec<Range<u64>>,
}

impl Parts {
    /// None yet, of a file of this size.
    pub(super) fn of(size: u64) -> Self {
        Self { size, list: Vec::new() }
    }

    /// Adds what is in this part. It does not begin before those that were added.
    pub(super) fn add(&mut self, part: Range<u64>) {
        let start = (part.start / BLOCK * BLOCK).min(self.size);
        let end = part.end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX).min(self.size);
        match self.list.last_mut() {
            _ if part.is_empty() || start >= end => {}
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => self.list.push(start..end),
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a file has one part, or several")]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn of(size: u64, writes: &[(u64, &[u8])]) -> Vec<Range<u64>> {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.set_len(size).unwrap();
        writes.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        parts(&file, size).unwrap()
    }

    #[test]
    fn what_was_written_is_no_hole_whatever_it_is() {
        assert_eq!(of(0, &[]), []);
        assert_eq!(of(10, &[]), [0..10]);
        assert_eq!(of(BLOCK + 1, &[]), []);
        assert_eq!(of(4 * BLOCK, &[(BLOCK, b"x"), (2 * BLOCK, b"y")]), [BLOCK..3 * BLOCK]);
        assert_eq!(of(3 * BLOCK, &[(0, b"x"), (3 * BLOCK - 1, b"y")]), [0..BLOCK, 2 * BLOCK..3 * BLOCK]);
        assert_eq!(of(2 * BLOCK, &[(0, &vec![0; 2 * BLOCK as usize])]), [0..2 * BLOCK]);
        assert_eq!(of(2 * BLOCK + 5, &[(2 * BLOCK, &[0])]), [2 * BLOCK..2 * BLOCK + 5]);
        assert_eq!(of(1 << 40, &[(1 << 30, b"x")]), [1 << 30..(1 << 30) + BLOCK]);
    }

    #[test]
    fn parts_become_whole_blocks() {
        let mut parts = Parts::of(10 * BLOCK + 7);
        [5..6, 7..BLOCK + 1, 3 * BLOCK..3 * BLOCK, 4 * BLOCK - 1..4 * BLOCK, 10 * BLOCK + 1..u64::MAX]
            .into_iter()
            .for_each(|part| parts.add(part));
        let expected = [0..2 * BLOCK, 3 * BLOCK..4 * BLOCK, 10 * BLOCK..10 * BLOCK + 7];
        assert_eq!(parts.list, expected);
        let between: Vec<_> = holes(&expected, 10 * BLOCK + 7).collect();
        assert_eq!(between, [2 * BLOCK..3 * BLOCK, 4 * BLOCK..10 * BLOCK]);
        assert!(holes(&[], 0).next().is_none() && holes(&[], 5).eq([0..5]));
        assert!(is_all(&[], 0) && !is_all(&[], 1) && is_all(&[0..1], 1) && !is_all(&[0..1], 2));
    }
}
