//! What differs between two trees. Directories with equal digests are not entered.

use std::collections::BTreeSet;

use ibuild_cache::TreeId;

use super::SnapshotError;
use super::change::join;
use super::tree::{Entry, Kind, Listing, TreeStore};

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the second tree has it.
    Added(Entry),
    /// Only the first tree has it.
    Removed(Entry),
    /// Both have it, not the same.
    Changed(Entry, Entry),
}

/// The paths that differ between two trees, in order.
pub fn diff(
    trees: &TreeStore<'_>,
    old: TreeId,
    new: TreeId,
) -> Result<Vec<(Vec<u8>, Difference)>, SnapshotError> {
    let mut found = Vec::new();
    if old == new {
        return Ok(found);
    }
    let mut waiting = vec![(Vec::new(), Some(trees.root(old)?), Some(trees.root(new)?))];
    while let Some((path, old, new)) = waiting.pop() {
        let (mut before, mut after) = (listing(trees, old.as_ref())?, listing(trees, new.as_ref())?);
        let names: BTreeSet<_> = before.entries.keys().chain(after.entries.keys()).cloned().collect();
        for name in names.into_iter().rev() {
            let (old, new) = (before.entries.remove(&name), after.entries.remove(&name));
            if old != new {
                waiting.push((join(&path, &name), old, new));
            }
        }
        found.extend(difference(old, new).map(|difference| (path, difference)));
    }
    Ok(found)
}

fn difference(old: Option<Entry>, new: Option<Entry>) -> Option<Difference> {
    match (old, new) {
        (Some(old), Some(new)) if is_same_itself(&old, &new) => None,
        (Some(old), Some(new)) => Some(Difference::Changed(old, new)),
        (Some(old), None) => Some(Difference::Removed(old)),
        (None, Some(new)) => Some(Difference::Added(new)),
        (None, None) => None,
    }
}

/// Two directories of which only the content differs.
fn is_same_itself(old: &Entry, new: &Entry) -> bool {
    old.meta == new.meta && matches!((&old.kind, &new.kind), (Kind::Directory(_), Kind::Directory(_)))
}

fn listing(trees: &TreeStore<'_>, entry: Option<&Entry>) -> Result<Listing, SnapshotError> {
    match entry.map(|entry| &entry.kind) {
        Some(Kind::Directory(listing)) => trees.listing(*listing),
        _ => Ok(Listing::default()),
    }
}
