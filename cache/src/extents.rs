//! What of a file is data, and what are holes: a disk of 100 GiB is mostly holes.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::Digest;
use crate::cancel::Cancel;

/// Bytes that are looked at together.
pub(crate) const PIECE: usize = 1 << 20;

/// Part of a file.
pub(crate) enum Extent {
    /// Nothing but zeros, which need not be read.
    Hole(Range<u64>),
    /// Anything.
    Data(Range<u64>),
}

/// All of a file of this length, in order. Its cursor moves.
pub(crate) fn extents(file: &File, length: u64) -> impl Iterator<Item = Extent> {
    let (mut at, mut in_data) = (0, false);
    std::iter::from_fn(move || {
        if at >= length {
            return None;
        }
        let start = at;
        at = next(file, if in_data { SeekFrom::Hole(at) } else { SeekFrom::Data(at) }, length);
        in_data = !in_data;
        Some(if in_data { Extent::Hole(start..at) } else { Extent::Data(start..at) })
    })
}

/// Digests as many zeros.
pub(crate) fn zeros<D: Digest>(hasher: &mut D::Hasher, range: Range<u64>) {
    zeros_until::<D>(hasher, range, &Cancel::default()).expect("nobody gives up");
}

/// The same for a user who may give up.
pub(crate) fn zeros_until<D: Digest>(
    hasher: &mut D::Hasher,
    range: Range<u64>,
    cancel: &Cancel,
) -> io::Result<()> {
    const ZEROS: &[u8; PIECE] = &[0; PIECE];
    pieces(range).try_for_each(|(_, size)| {
        cancel.check()?;
        D::update(hasher, &ZEROS[..size]);
        Ok(())
    })
}

/// Where the next data or hole is. A file system that does not know says that all is data.
fn next(file: &File, from: SeekFrom, length: u64) -> u64 {
    let (SeekFrom::Data(at) | SeekFrom::Hole(at)) = from else { return length };
    match rustix::fs::seek(file, from) {
        Ok(found) => found.clamp(at, length),
        Err(Errno::NXIO) => length,
        Err(_) if matches!(from, SeekFrom::Data(_)) => at,
        Err(_) => length,
    }
}

/// The starts and the lengths of the pieces of a range.
pub(crate) fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let end = range.end;
    range.step_by(PIECE).map(move |start| (start, (end - start).min(PIECE as u64) as usize))
}
