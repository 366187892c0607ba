//! Formats of which fields are known that hold times, counters or identifiers. One file for each; a format recognises its
//! own files by their first bytes.

mod ar;
mod elf;
mod gzip;
mod png;
mod pyc;
mod sqlite;
mod tarball;
mod zip;

use crate::{Depth, Finding};

/// What a format compares: two versions of which at least the first is of it. `None` if it is not.
type Format = fn(&[u8], &[u8], Depth, i64) -> Option<Finding>;

const FORMATS: &[Format] =
    &[gzip::find, ar::find, elf::find, sqlite::find, png::find, pyc::find, tarball::find, zip::find];

/// What the format of two versions says of their difference.
pub(crate) fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Option<Finding> {
    FORMATS.iter().find_map(|format| format(old, new, depth, now))
}

/// Whether both versions begin like this.
fn both_begin(old: &[u8], new: &[u8], magic: &[u8]) -> bool {
    old.starts_with(magic) && new.starts_with(magic)
}

/// A number of four bytes, the lowest first.
fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number of four bytes, the highest first.
fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The members of two archives by name: those that only one has, and those whose bytes or facts differ.
struct Members<'a> {
    old: Vec<Entry<'a>>,
    new: Vec<Entry<'a>>,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry<'a> {
    name: String,
    /// Seconds since 1970.
    time: u64,
    content: &'a [u8],
}

impl Members<'_> {
    /// What the first difference is: names, their order, a content, or a time.
    fn compare(&self, format: &'static str, depth: Depth, now: i64) -> Option<Finding> {
        use crate::{Arrangement, Cause};
        let names = |entries: &[Entry<'_>]| entries.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        let (old_names, new_names) = (names(&self.old), names(&self.new));
        if old_names != new_names {
            let (mut old_sorted, mut new_sorted) = (old_names.clone(), new_names.clone());
            old_sorted.sort_unstable();
            new_sorted.sort_unstable();
            let only = |a: &[String], b: &[String]| a.iter().find(|name| !b.contains(name)).cloned();
            if old_sorted == new_sorted {
                let at = old_names.iter().zip(&new_names).position(|(a, b)| a != b)?;
                let line = format!("member {}: `{}` / `{}`", at + 1, old_names[at], new_names[at]);
                let cause = Some(Cause::ArchiveOrder);
                return Some(Finding {
                    format,
                    arrangement: Arrangement::Permuted,
                    lines: vec![line],
                    cause,
                });
            }
            let shown = |name: String| crate::text::shown(&name);
            let gone = only(&old_names, &new_names).map(|name| format!("-{}", shown(name)));
            let come = only(&new_names, &old_names).map(|name| format!("+{}", shown(name)));
            return Some(Finding::new(format, gone.into_iter().chain(come).collect(), None));
        }
        let (old, new) = self.old.iter().zip(&self.new).find(|(old, new)| old != new)?;
        if old.content != new.content {
            let inner = crate::find(old.content, new.content, depth, now);
            let mut lines = vec![format!("in `{}`:", old.name)];
            lines.extend(inner.lines);
            return Some(Finding { format, lines, ..inner });
        }
        let line = format!("time of `{}`: {} / {}", old.name, old.time, new.time);
        Some(Finding::new(format, vec![line], Some(Cause::ArchiveTimes)))
    }
}
