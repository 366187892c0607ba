//! Which parts of a file are written down, and which are holes.
//!
//! A hole is a run of zero bytes that fills an aligned block of 64 KiB, whether the file system stores it or not: so
//! the same content has the same tarball whichever file system it comes from. What the file system knows to be
//! empty is not read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Size and alignment of a hole.
const BLOCK: u64 = 64 << 10;

/// A part of a file that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// The parts of a file of `size` bytes that have to be written; one that covers it whole if it has no hole.
pub(crate) fn segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    if size < BLOCK {
        return Ok(vec![Segment { offset: 0, length: size }]);
    }
    let mut found: Vec<Segment> = Vec::new();
    let mut buffer = vec![0; BLOCK as usize];
    let mut offset = next_data(file, 0, size)?;
    while offset < size {
        let length = BLOCK.min(size - offset);
        let block = &mut buffer[..length as usize];
        file.read_exact_at(block, offset)?;
        let is_hole = length == BLOCK && block.iter().all(|byte| *byte == 0);
        match found.last_mut() {
            _ if is_hole => {}
            Some(last) if last.offset + last.length == offset => last.length += length,
            _ => found.push(Segment { offset, length }),
        }
        offset += length;
        if is_hole {
            offset = next_data(file, offset, size)?;
        }
    }
    Ok(found)
}

/// The start of the block with the next data at or after `from`, as far as the file system can tell. The last
/// block of a file that is not full is never a hole, so that its end is written down.
fn next_data(file: &File, from: u64, size: u64) -> io::Result<u64> {
    let tail = if size.is_multiple_of(BLOCK) { size } else { size / BLOCK * BLOCK };
    match seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok((data / BLOCK * BLOCK).max(from).min(tail.max(from))),
        Err(Errno::NXIO) => Ok(tail.max(from)),
        Err(Errno::INVAL) => Ok(from),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: u64, writes: &[(u64, &[u8])]) -> Vec<(u64, u64)> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        writes.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        segments(&file, size).unwrap().iter().map(|s| (s.offset, s.length)).collect()
    }

    #[test]
    fn holes_are_found_by_content() {
        assert_eq!(of(10, &[]), [(0, 10)]);
        assert_eq!(of(BLOCK, &[]), []);
        assert_eq!(of(4 * BLOCK, &[(BLOCK, b"x"), (2 * BLOCK, b"y")]), [(BLOCK, 2 * BLOCK)]);
        assert_eq!(of(3 * BLOCK, &[(0, b"x"), (3 * BLOCK - 1, b"y")]), [(0, BLOCK), (2 * BLOCK, BLOCK)]);
        // Written zeros are holes too.
        assert_eq!(of(2 * BLOCK, &[(0, &vec![0; 2 * BLOCK as usize])]), []);
        // The end of a file that does not fill its last block is written.
        assert_eq!(of(2 * BLOCK + 5, &[]), [(2 * BLOCK, 5)]);
        assert_eq!(of(1 << 40, &[(1 << 30, b"x")]), [(1 << 30, BLOCK)]);
    }
}
