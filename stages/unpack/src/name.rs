//! Names of members: what they are made of, and what is left of them.

use crate::error::MemberFault;

/// The names on the way to a member below the directory that is unpacked into, outermost first. `None` if nothing is left of
/// them, as of `./`.
pub(crate) fn parts(path: &[u8], strip: u32) -> Result<Option<Vec<&[u8]>>, MemberFault> {
    if path.contains(&0) {
        return Err(MemberFault::Nul);
    }
    if path.starts_with(b"/") {
        return Err(MemberFault::Absolute);
    }
    let parts: Vec<_> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(MemberFault::Parent);
    }
    let left = parts.get(strip as usize..).unwrap_or_default();
    Ok((!left.is_empty()).then(|| left.to_vec()))
}

/// A name as messages have it: no bytes that a terminal would act on, and not without end.
pub(crate) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text: String = String::from_utf8_lossy(path).chars().flat_map(char::escape_debug).collect();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
