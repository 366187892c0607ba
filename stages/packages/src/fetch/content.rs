//! Files that are at hand, and how they are read.

use std::fs::File;
use std::io;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

/// The most that is read at once. A file of this size or less goes out in one piece, together with the head.
pub(crate) const CHUNK: u64 = 128 << 10;

/// Bytes that are at hand, all of them verified.
pub(crate) enum Content {
    /// In a file of the store.
    File(File),
    /// In memory.
    Memory(Bytes),
}

/// A piece of a file, up to `end` or a chunk long. Memory that is about to be read into is not cleared first.
pub(crate) fn read_chunk(file: &File, at: u64, end: u64) -> io::Result<Bytes> {
    let size = (end - at).min(CHUNK) as usize;
    let mut chunk = Vec::with_capacity(size);
    while chunk.len() < size {
        let from = at + chunk.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut chunk), from))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    chunk.truncate(size);
    Ok(chunk.into())
}
