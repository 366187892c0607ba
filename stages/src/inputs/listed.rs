//! Changes of trees, named by file.

use ibuild_cache::TreeId;
use ibuild_graph::{Change, Description, Value, value_changes};

use crate::fields::{CONTENTS, PARENT_LAYERS, PARENT_TREE, SECRETS, TREE};
use crate::snapshot::diff::{Difference, diff};
use crate::snapshot::{Entry, Kind, Metadata, TreeStore};

/// What differs between two descriptions. Two trees are compared by their files, as long as their listings are known;
/// else that they differ is all that can be said. What a stage sees is named only where nothing in the words of the recipe
/// says the same, and layers only where they have the same files.
pub(super) fn changes(trees: &TreeStore<'_>, old: &Description, new: &Description) -> Vec<Change> {
    let (seen, said): (Vec<_>, Vec<_>) =
        ibuild_graph::changes(old, new).into_iter().partition(|change| change.path[0] == CONTENTS);
    let has_other_files = said.iter().any(|change| change.path[0] == PARENT_TREE);
    let is_told = |change: &Change| !(has_other_files && change.path[0] == PARENT_LAYERS);
    let changes = in_order(if said.is_empty() { seen } else { said }).into_iter().filter(is_told);
    changes.flat_map(|change| by_file(trees, &change).unwrap_or_else(|| vec![of_secret(change)])).collect()
}

/// Of a secret no more is told than that its value is another one, not even by digests.
fn of_secret(change: Change) -> Change {
    let hide = |value: Option<Value>| value.map(|_| Value::map::<&str>([]));
    match change.path.first() {
        Some(field) if field == SECRETS => Change { old: hide(change.old), new: hide(change.new), ..change },
        _ => change,
    }
}

/// Rules of a copy that are what they were but for their order, as one change: they are named by their numbers, so each would
/// be gone and new.
fn in_order(changes: Vec<Change>) -> Vec<Change> {
    let (rules, rest): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| change.path.len() == 2 && change.path[0] == "copy");
    let place = |change: &Change| {
        change.path[1].split_once(" to ").map(|(number, to)| (number.parse::<u32>().ok(), to.to_owned()))
    };
    let side = |of: fn(&Change) -> Option<&Value>| {
        let mut side: Vec<_> =
            rules.iter().filter_map(|change| Some((place(change)?, of(change)?.clone()))).collect();
        side.sort_by_key(|((number, _), _)| *number);
        side
    };
    let (old, new) = (side(|change| change.old.as_ref()), side(|change| change.new.as_ref()));
    let is_same = |((_, to), rule): &((Option<u32>, String), Value)| {
        old.iter().filter(|((_, other), was)| other == to && was == rule).count() == 1
    };
    let is_reordered = !rules.is_empty()
        && old.len() == new.len()
        && rules.len() == old.len() + new.len()
        && new.iter().all(is_same);
    if !is_reordered {
        return rules.into_iter().chain(rest).collect();
    }
    let names =
        |side: &[((Option<u32>, String), Value)]| Value::texts(side.iter().map(|((_, to), _)| to.as_str()));
    let order =
        Change { path: vec!["order of copies".to_owned()], old: Some(names(&old)), new: Some(names(&new)) };
    std::iter::once(order).chain(rest).collect()
}

fn by_file(trees: &TreeStore<'_>, change: &Change) -> Option<Vec<Change>> {
    let (old, new) =
        (change.old.as_ref().and_then(Compared::of)?, change.new.as_ref().and_then(Compared::of)?);
    let (root, value): (_, fn(&Entry) -> Value) = match (&old, change.path.as_slice()) {
        (Compared::Files(_), _) => ("", file_of_the_project),
        // The root file system that a step or an image stands on.
        (Compared::Root(_), [field]) if [PARENT_TREE, TREE].contains(&field.as_str()) => {
            ("/", file_of_the_image)
        }
        _ => return None,
    };
    let differences = diff(trees, old.id(), new.id()).ok()?;
    let changes = differences.into_iter().flat_map(|(path, difference)| {
        let mut whole = change.path.clone();
        whole.push(format!("{root}{}", String::from_utf8_lossy(&path)));
        let (old, new) = match &difference {
            Difference::Added(entry) => (None, Some(value(entry))),
            Difference::Removed(entry) => (Some(value(entry)), None),
            Difference::Changed(old, new) => (Some(value(old)), Some(value(new))),
        };
        value_changes(whole, old.as_ref(), new.as_ref())
    });
    Some(changes.collect())
}

/// Something with a listing.
enum Compared {
    Files(TreeId),
    Root(TreeId),
}

impl Compared {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Tree(id) => Some(Self::Files(TreeId::from_bytes(*id))),
            Value::List(values) => match values.as_slice() {
                [Value::Digest(id)] => Some(Self::Root(TreeId::from_bytes(*id))),
                _ => None,
            },
            _ => None,
        }
    }

    fn id(&self) -> TreeId {
        match self {
            Self::Files(id) | Self::Root(id) => *id,
        }
    }
}

/// Everything that can differ of a file.
fn file_of_the_image(entry: &Entry) -> Value {
    let Metadata { mode, uid, gid, mtime, xattrs } = &entry.meta;
    let attributes = xattrs.iter().map(|(name, value)| (name.clone(), Value::Bytes(value.clone())));
    let mut fields = vec![
        ("mode", format!("{mode:04o}").into()),
        ("owner", format!("{uid}:{gid}").into()),
        ("time", (*mtime).into()),
        ("attributes", Value::map(attributes)),
    ];
    fields.extend(match &entry.kind {
        Kind::Directory(_) => vec![("type", "directory".into())],
        Kind::File { content, link, .. } => vec![
            ("type", "file".into()),
            ("content", Value::Digest(*content.as_bytes())),
            ("link", Value::option(link.clone().map(Value::Bytes))),
        ],
        Kind::Symlink(target) => vec![("type", "link".into()), ("target", Value::Bytes(target.clone()))],
        Kind::Char(major, minor) => vec![("type", format!("character device {major}:{minor}").into())],
        Kind::Block(major, minor) => vec![("type", format!("block device {major}:{minor}").into())],
        Kind::Fifo => vec![("type", "pipe".into())],
    });
    Value::map(fields)
}

/// What a copy of a file takes over.
fn file_of_the_project(entry: &Entry) -> Value {
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
