//! gzip (RFC 1952): bytes 4 to 8 of the header are a time, and what is inside is compared as a file of its own.

use libdeflater::Decompressor;

use super::{both_begin, u32_le};
use crate::{Cause, Depth, Finding};

const MAGIC: &[u8] = &[0x1f, 0x8b, 8];

/// More is not unpacked.
const MOST_INSIDE: usize = 64 << 20;

pub(super) fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    if let Some((old, new)) = inside(old).zip(inside(new)).filter(|(old, new)| old != new) {
        let inner = crate::find(&old, &new, depth, now);
        let lines = std::iter::once("inside:".to_owned()).chain(inner.lines).collect();
        return Some(Finding { format: "gzip", lines, ..inner });
    }
    let (old_time, new_time) = (u32_le(old, 4)?, u32_le(new, 4)?);
    if old_time != new_time {
        let line = format!("time in the header: {old_time} / {new_time}");
        return Some(Finding::new("gzip", vec![line], Some(Cause::CompressionTime)));
    }
    Some(Finding::new("gzip", vec!["the same content, compressed in another way".to_owned()], None))
}

/// What is inside a file of one member, of which the last four bytes are the size.
fn inside(bytes: &[u8]) -> Option<Vec<u8>> {
    let size = u32_le(bytes, bytes.len().checked_sub(4)?)? as usize;
    if size > MOST_INSIDE {
        return None;
    }
    let mut out = vec![0; size];
    let written = Decompressor::new().gzip_decompress(bytes, &mut out).ok()?;
    out.truncate(written);
    Some(out)
}
