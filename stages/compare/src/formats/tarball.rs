//! tar: names, times and contents of the members, in their order.

use std::io::{Cursor, Read};

use super::{Entry, Members};
use crate::{Depth, Finding};

/// Where POSIX's header has its mark.
const MARK: std::ops::Range<usize> = 257..262;

pub(super) fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Option<Finding> {
    if [old, new].iter().any(|bytes| bytes.get(MARK) != Some(b"ustar")) {
        return None;
    }
    let (old, new) = (read(old)?, read(new)?);
    Members { old: borrow(&old), new: borrow(&new) }.compare("tar", depth, now)
}

/// Archives of more, when they are unpacked, are compared as bytes.
const MOST_INSIDE: u64 = 256 << 20;

/// A member: its name, its time, its content.
type Member = (String, u64, Vec<u8>);

fn read(bytes: &[u8]) -> Option<Vec<Member>> {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let (mut members, mut room) = (Vec::new(), MOST_INSIDE);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let time = entry.header().mtime().ok()?;
        let mut content = Vec::new();
        // A sparse member says that it is larger than all of the archive.
        room = room.checked_sub(entry.size())?;
        entry.read_to_end(&mut content).ok()?;
        members.push((name, time, content));
    }
    Some(members)
}

fn borrow(members: &[Member]) -> Vec<Entry<'_>> {
    members.iter().map(|(name, time, content)| Entry { name: name.clone(), time: *time, content }).collect()
}
