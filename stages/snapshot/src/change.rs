//! What a layer does to the tree below it.

use super::tree::Entry;

/// One change, relative to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry is new, or differs from the parent's.
    Set(Entry),
    /// The parent's entry is gone.
    Removed,
}

/// What the name of a removed file begins with in a layer's tarball, by the convention of OCI images.
pub(super) const REMOVAL: &[u8] = b".wh.";

/// `parent/name`, or `name` in the root.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, name].join(&b'/') }
}
