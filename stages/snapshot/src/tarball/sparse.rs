//! Which parts of a file are written down. What is a hole in a tree is one in a tarball.

use std::fs::File;
use std::io;

use crate::allocated::parts;

/// A part of a file that is in no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// The parts of a file of `size` bytes that have to be written; one that covers it whole if it has no hole.
pub fn segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    if size == 0 {
        return Ok(vec![Segment { offset: 0, length: 0 }]);
    }
    let segment = |part: std::ops::Range<u64>| Segment { offset: part.start, length: part.end - part.start };
    Ok(parts(file, size)?.into_iter().map(segment).collect())
}
