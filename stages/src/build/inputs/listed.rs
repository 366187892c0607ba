//! Changes of copied trees, named by file.

use ibuild_cache::TreeId;
use ibuild_graph::{Change, Description, Value, value_changes};

use crate::snapshot::diff::{Difference, diff};
use crate::snapshot::{Entry, Kind, TreeStore};

/// What differs between two descriptions. Two trees are compared by their files, as long as their listings are known;
/// else that they differ is all that can be said.
pub(super) fn changes(trees: &TreeStore<'_>, old: &Description, new: &Description) -> Vec<Change> {
    let changes = ibuild_graph::changes(old, new).into_iter();
    changes.flat_map(|change| by_file(trees, &change).unwrap_or_else(|| vec![change])).collect()
}

fn by_file(trees: &TreeStore<'_>, change: &Change) -> Option<Vec<Change>> {
    let (Some(Value::Tree(old)), Some(Value::Tree(new))) = (&change.old, &change.new) else { return None };
    let differences = diff(trees, TreeId::from_bytes(*old), TreeId::from_bytes(*new)).ok()?;
    let changes = differences.into_iter().flat_map(|(path, difference)| {
        let mut whole = change.path.clone();
        whole.push(String::from_utf8_lossy(&path).into_owned());
        let (old, new) = match &difference {
            Difference::Added(entry) => (None, Some(value(entry))),
            Difference::Removed(entry) => (Some(value(entry)), None),
            Difference::Changed(old, new) => (Some(value(old)), Some(value(new))),
        };
        value_changes(whole, old.as_ref(), new.as_ref())
    });
    Some(changes.collect())
}

/// A file as people think of it.
fn value(entry: &Entry) -> Value {
    match &entry.kind {
        Kind::Directory(_) => "directory".into(),
        Kind::Symlink(target) => Value::map([("link", Value::Bytes(target.clone()))]),
        Kind::File { content, .. } => {
            let kind = if entry.meta.mode & 0o111 == 0 { "file" } else { "executable" };
            Value::map([("type", kind.into()), ("content", Value::Digest(*content.as_bytes()))])
        }
        Kind::Char(..) | Kind::Block(..) | Kind::Fifo => "special".into(),
    }
}
