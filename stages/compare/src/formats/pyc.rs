//! Compiled Python (PEP 552): the time of the source in bytes 8 to 12, if the flags before it are zero.

use super::u32_le;
use crate::{Cause, Depth, Finding};

/// The end of every magic number.
const MARK: &[u8] = b"\r\n";

const HEADER: usize = 16;

pub(super) fn find(old: &[u8], new: &[u8], _depth: Depth, _now: i64) -> Option<Finding> {
    if [old, new].iter().any(|bytes| bytes.get(2..4) != Some(MARK) || u32_le(bytes, 4) != Some(0)) {
        return None;
    }
    let (old_time, new_time) = (u32_le(old, 8)?, u32_le(new, 8)?);
    if old_time == new_time || old.get(HEADER..)? != new.get(HEADER..)? {
        return None;
    }
    let line = format!("time of the source: {old_time} / {new_time}");
    Some(Finding::new("Python bytecode", vec![line], Some(Cause::BytecodeTime)))
}
