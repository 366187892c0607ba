//! ELF (System V ABI): the sections that differ, by name, and the build id, which is a digest of all others.

use super::both_begin;
use crate::{Cause, Depth, Finding, binary};

/// The mark, 64 bits, lowest byte first: what Debian's amd64 has.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";

/// The size of a section's header of 64 bits.
const SECTION_HEADER: usize = 64;

/// More than any program has, and bounds for what a file that only looks like one can cost.
const MOST_SECTIONS: usize = 4096;
const LONGEST_NAME: usize = 256;

/// Sections that are named.
const SHOWN: usize = 8;

pub(super) fn find(old: &[u8], new: &[u8], _depth: Depth, now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    let (old_sections, new_sections) = (sections(old)?, sections(new)?);
    let mut lines = Vec::new();
    let mut differing = Vec::new();
    for (name, content) in &old_sections {
        match new_sections.iter().find(|(other, _)| other == name) {
            Some((_, other)) if other == content => {}
            Some((_, other)) => differing.push((name.as_str(), *content, *other)),
            None => lines.push(format!("-section {name}")),
        }
    }
    let added = new_sections.iter().filter(|(name, _)| !old_sections.iter().any(|(old, _)| old == name));
    lines.extend(added.map(|(name, _)| format!("+section {name}")));
    lines.extend(differing.iter().take(SHOWN).map(|(name, ..)| format!("section {name} differs")));
    let texts =
        differing.iter().filter(|(name, ..)| name.starts_with(".rodata") || name.starts_with(".data"));
    let inner: Vec<_> = texts.map(|(_, old, new)| binary::find(old, new, now)).collect();
    lines.extend(inner.iter().flat_map(|finding| finding.lines.clone()));
    let cause = inner.iter().find_map(|finding| finding.cause.filter(|cause| *cause != Cause::RandomBytes));
    let cause = cause.unwrap_or(Cause::BuildId);
    Some(Finding::new("ELF", lines, Some(cause)))
}

/// The sections that have bytes, by name.
fn sections(bytes: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let (table, entry, count, names) =
        (number(bytes, 40, 8)?, number(bytes, 58, 2)?, number(bytes, 60, 2)?, number(bytes, 62, 2)?);
    if entry < SECTION_HEADER || count > MOST_SECTIONS {
        return None;
    }
    let header = |at: usize| bytes.get(table.checked_add(at.checked_mul(entry)?)?..);
    let content = |header: &[u8]| {
        const NO_BITS: usize = 8;
        let (from, size) = (number(header, 24, 8)?, number(header, 32, 8)?);
        if number(header, 4, 4)? == NO_BITS {
            Some(&bytes[..0])
        } else {
            bytes.get(from..from.checked_add(size)?)
        }
    };
    let texts = content(header(names)?)?;
    let mut found = Vec::new();
    for at in 1..count {
        let header = header(at)?;
        let name = texts.get(number(header, 0, 4)?..)?;
        let end = name.iter().take(LONGEST_NAME).position(|byte| *byte == 0)?;
        found.push((String::from_utf8_lossy(&name[..end]).into_owned(), content(header)?));
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
