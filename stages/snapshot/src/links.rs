//! Files with several names.
//!
//! A tree tells which names are one file by an identity that each of them has. It follows from all the names that the file
//! has in its layer: so no other file of the tree has it, because a layer that has these names again replaces all of them.
//! That holds as long as a layer has all names of a file or none, also where some are as the parent has them.

use std::collections::HashMap;

use ibuild_cache::TreeId;

use super::SnapshotError;
use super::tree::{Entry, TreeStore};

/// By inode, the names of files that have more than one.
#[derive(Default)]
pub(super) struct Shared(HashMap<u64, Vec<Vec<u8>>>);

impl Shared {
    /// Notes another name of a file, and with the second one the first.
    pub(super) fn note(&mut self, inode: u64, first: impl FnOnce() -> Vec<u8>, other: &[u8]) {
        self.0.entry(inode).or_insert_with(|| vec![first()]).push(other.to_vec());
    }
}

/// The files of a directory that have several names in it.
pub(super) struct Links {
    files: HashMap<u64, Linked>,
}

struct Linked {
    names: Vec<Vec<u8>>,
    identity: Vec<u8>,
    /// Whether the parent has this file, with these names. Found out with the first of them.
    is_known: Option<bool>,
}

impl Links {
    /// Of files with these names.
    pub(super) fn of(shared: Shared) -> Self {
        Self { files: shared.0.into_iter().map(|(inode, names)| (inode, Linked::of(names))).collect() }
    }

    /// What tells a file of the tree from all others that have several names; `None` if it has one.
    pub(super) fn identity(&self, inode: u64) -> Option<Vec<u8>> {
        self.files.get(&inode).map(|linked| linked.identity.clone())
    }

    /// Whether the parent has a file with all its names, so that the layer can do without it.
    pub(super) fn is_known(
        &mut self,
        inode: u64,
        entry: &Entry,
        trees: &TreeStore<'_>,
        parent: Option<TreeId>,
    ) -> Result<bool, SnapshotError> {
        let Some(parent) = parent else { return Ok(false) };
        let Some(linked) = self.files.get_mut(&inode) else { return Ok(true) };
        if let Some(known) = linked.is_known {
            return Ok(known);
        }
        let mut known = true;
        for name in &linked.names {
            known = known && trees.find(parent, name)?.as_ref() == Some(entry);
        }
        linked.is_known = Some(known);
        Ok(known)
    }
}

impl Linked {
    fn of(mut names: Vec<Vec<u8>>) -> Self {
        names.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for name in &names {
            hasher.update(name).update(b"\0");
        }
        Self { names, identity: hasher.finalize().as_bytes().to_vec(), is_known: None }
    }
}
