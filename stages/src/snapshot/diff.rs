//! What differs between two trees. Directories with equal digests are not entered.

use std::collections::BTreeSet;

use ibuild_cache::TreeId;

use super::SnapshotError;
use super::capture::join;
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
    if old != new {
        compare(trees, b"", Some(trees.root(old)?), Some(trees.root(new)?), &mut found)?;
    }
    Ok(found)
}

fn compare(
    trees: &TreeStore<'_>,
    path: &[u8],
    old: Option<Entry>,
    new: Option<Entry>,
    found: &mut Vec<(Vec<u8>, Difference)>,
) -> Result<(), SnapshotError> {
    if old == new {
        return Ok(());
    }
    let (before, after) = (listing(trees, old.as_ref())?, listing(trees, new.as_ref())?);
    let difference = match (old, new) {
        (Some(old), Some(new)) if is_same_itself(&old, &new) => None,
        (Some(old), Some(new)) => Some(Difference::Changed(old, new)),
        (Some(old), None) => Some(Difference::Removed(old)),
        (None, Some(new)) => Some(Difference::Added(new)),
        (None, None) => None,
    };
    found.extend(difference.map(|difference| (path.to_vec(), difference)));
    let names: BTreeSet<_> = before.entries.keys().chain(after.entries.keys()).collect();
    for name in names {
        let (old, new) = (before.entries.get(name).cloned(), after.entries.get(name).cloned());
        compare(trees, &join(path, name), old, new, found)?;
    }
    Ok(())
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
