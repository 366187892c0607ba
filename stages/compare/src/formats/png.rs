//! PNG: which chunks differ. `tIME` and texts are metadata.

use super::{both_begin, u32_be};
use crate::{Cause, Depth, Finding};

const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What comes behind so many is not looked at.
const MOST_CHUNKS: usize = 4096;

/// Chunks that say something of the picture and are no part of it.
const METADATA: [&str; 5] = ["tIME", "tEXt", "zTXt", "iTXt", "eXIf"];

pub(super) fn find(old: &[u8], new: &[u8], _depth: Depth, _now: i64) -> Option<Finding> {
    if !both_begin(old, new, MAGIC) {
        return None;
    }
    let (old, new) = (chunks(old)?, chunks(new)?);
    let longest = old.len().max(new.len());
    let differs = |at: &usize| old.get(*at) != new.get(*at);
    let name = |at: usize| old.get(at).or_else(|| new.get(at)).map(|(name, _)| name.clone());
    let names: Vec<_> = (0..longest).filter(differs).filter_map(name).collect();
    let is_metadata = names.iter().all(|name| METADATA.contains(&name.as_str()));
    let lines = names.iter().map(|name| format!("chunk {name} differs")).collect();
    Some(Finding::new("PNG", lines, is_metadata.then_some(Cause::PictureMetadata)))
}

/// The chunks with their types.
fn chunks(bytes: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let (mut found, mut rest) = (Vec::new(), &bytes[MAGIC.len()..]);
    while !rest.is_empty() && found.len() < MOST_CHUNKS {
        let length = u32_be(rest, 0)? as usize;
        let name = String::from_utf8_lossy(rest.get(4..8)?).into_owned();
        found.push((name, rest.get(8..8 + length)?));
        rest = rest.get(8 + length + 4..)?;
    }
    Some(found)
}
