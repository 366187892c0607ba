//! Files with several names.
//!
//! A tree tells which names are one file by an identity that each of them has. It follows from all the names that the file
//! has in its layer: so no other file of the tree has it, because a layer that has these names again replaces all of them.
//! That holds as long as a layer has all names of a file or none, also where some are as the parent has them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;

use ibuild_cache::TreeId;

use super::capture::join;
use super::tree::{Entry, TreeStore};
use super::volatile::VolatileList;
use super::{SnapshotError, depth};

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
    /// All names below `dir` but those that will not be kept.
    pub(super) fn below(dir: &Path, volatile: &VolatileList) -> Result<Self, SnapshotError> {
        let mut names: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        let mut waiting = vec![(dir.to_owned(), Vec::new())];
        while let Some((dir, path)) = waiting.pop() {
            let error = || SnapshotError::io("read", &dir);
            for entry in fs::read_dir(&dir).map_err(error())? {
                let entry = entry.map_err(error())?;
                let kind = entry.file_type().map_err(error())?;
                let path = join(&path, &entry.file_name().into_vec());
                depth::check(&path)?;
                if kind.is_dir() {
                    waiting.push((entry.path(), path));
                } else if kind.is_file() && !volatile.contains(&path) {
                    names.entry(entry.ino()).or_default().push(path);
                }
            }
        }
        let several = names.into_iter().filter(|(_, names)| names.len() > 1);
        Ok(Self { files: several.map(|(inode, names)| (inode, Linked::of(names))).collect() })
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
