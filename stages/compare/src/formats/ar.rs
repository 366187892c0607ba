//! `ar`, the format of static libraries and of Debian packages: a header of 60 bytes with a time before each member.

use super::{Entry, Members, both_begin};
use crate::{Depth, Finding};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

pub(super) fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    Members { old: entries(old)?, new: entries(new)? }.compare("ar", depth, now)
}

fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let (mut entries, mut rest) = (Vec::new(), &bytes[MAGIC.len()..]);
    while rest.len() >= HEADER {
        let field = |from: usize, to: usize| std::str::from_utf8(&rest[from..to]).ok().map(str::trim_end);
        let size: usize = field(48, 58)?.parse().ok()?;
        let content = rest.get(HEADER..HEADER.checked_add(size)?)?;
        let name = field(0, 16)?.trim_end_matches('/').to_owned();
        entries.push(Entry { name, time: field(16, 28)?.parse().unwrap_or(0), content });
        // Members begin at even places.
        rest = rest.get(HEADER + size + size % 2..).unwrap_or_default();
    }
    Some(entries)
}
