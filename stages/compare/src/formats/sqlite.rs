//! SQLite's header (<https://www.sqlite.org/fileformat.html>): counters that say how often a file was written.

use super::{both_begin, u32_be};
use crate::{Cause, Depth, Finding, binary};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Numbers of the header that differ with the way to the same content.
const COUNTERS: [(usize, &str); 4] =
    [(24, "change counter"), (36, "free pages"), (40, "schema cookie"), (92, "version valid for")];

const HEADER: usize = 100;

pub(super) fn find(old: &[u8], new: &[u8], _depth: Depth, now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    let mut lines = Vec::new();
    for (at, name) in COUNTERS {
        let (old, new) = (u32_be(old, at)?, u32_be(new, at)?);
        if old != new {
            lines.push(format!("{name}: {old} / {new}"));
        }
    }
    let (old_pages, new_pages) = (old.get(HEADER..)?, new.get(HEADER..)?);
    if old_pages == new_pages {
        return Some(Finding::new("SQLite", lines, Some(Cause::DatabaseHeader)));
    }
    let inner = binary::find(old_pages, new_pages, now);
    lines.extend(inner.lines);
    let cause = inner.cause.or(Some(Cause::DatabaseHeader));
    Some(Finding::new("SQLite", lines, cause))
}
