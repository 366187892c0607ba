//! zip (PKWARE's APPNOTE 6.3): the central directory, which has a name, a time and a checksum for each member.

use super::{Entry, Members, both_begin, u32_le};
use crate::{Depth, Finding};

const MAGIC: &[u8] = b"PK\x03\x04";
const END: &[u8] = b"PK\x05\x06";
const MEMBER: &[u8] = b"PK\x01\x02";

/// A comment behind the end is at most so long.
const LONGEST_TAIL: usize = (64 << 10) + 22;

pub(super) fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    Members { old: entries(old)?, new: entries(new)? }.compare("zip", depth, now)
}

/// The members; the content of each is its checksum.
fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let tail = bytes.len().saturating_sub(LONGEST_TAIL);
    let end = tail + bytes[tail..].windows(END.len()).rposition(|window| window == END)?;
    let (mut at, mut entries) = (u32_le(bytes, end + 16)? as usize, Vec::new());
    while bytes.get(at..at.checked_add(MEMBER.len())?) == Some(MEMBER) {
        let length = |field: usize| {
            let bytes = bytes.get(at + field..at + field + 2)?;
            Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
        };
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        entries.push(Entry {
            name: String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name)?).into_owned(),
            time: u32_le(bytes, at + 12)?.into(),
            content: bytes.get(at + 16..at + 20)?,
        });
        at += 46 + name + extra + comment;
    }
    Some(entries)
}
