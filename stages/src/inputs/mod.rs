//! The project's files as data: what a stage's key knows of a copied file or tree.
//!
//! Type, executable bit, content and link target count. Time, owner, group, the other permission bits and the checkout's
//! umask do not, because no stage sees them: what a stage sees is a copy with the digests of its key. What is ignored does
//! not count either, and is not copied.
//!
//! A copied directory is a tree like those of root file systems, owned by root and without times. So a key contains one
//! digest for a directory of any size, and `explain` compares two of them like any two trees.

mod copied;
mod listed;
mod scan;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ibuild_cache::{Batch, BlobId, DirectoryMemo, FileStamp, MemoEntry, Store, Table};
use ibuild_graph::{Change, Description};

use crate::StageError;
use crate::recipe::ignore::Ignore;
use crate::sandbox::{Executable, ProjectContent};
use crate::snapshot::TreeStore;
use copied::content_digest;
use scan::{Remembered, Scan, Scanned, read};

/// Reads input files, and remembers digests of files that have not changed.
pub(super) struct Inputs<'s> {
    store: &'s Store,
    project: PathBuf,
    trees: TreeStore<'s>,
    learnt: Mutex<BTreeMap<[u8; 16], MemoEntry>>,
    learnt_directories: Mutex<BTreeMap<[u8; 16], DirectoryMemo>>,
    /// Where content was found, by its digest.
    sources: Mutex<HashMap<[u8; 32], PathBuf>>,
}

/// A file or tree of the project by its content.
pub(super) struct ResolvedInput {
    /// All that counts.
    pub content: ProjectContent,
    /// Paths that were left out, relative to the tree, with a slash after those of directories.
    pub ignored: Vec<String>,
}

/// A directory, walked.
struct Tree {
    /// What is in it.
    scanned: Scanned,
    /// Paths of what is left out, its own rules included.
    left_out: Vec<Vec<u8>>,
}

impl<'s> Inputs<'s> {
    pub(super) fn new(store: &'s Store, trees: TreeStore<'s>, project: &Path) -> Self {
        Self {
            store,
            project: project.to_owned(),
            trees,
            learnt: Mutex::default(),
            learnt_directories: Mutex::default(),
            sources: Mutex::default(),
        }
    }

    /// A file or a whole tree, by its path in the project, without what the patterns of the recipe leave out of it.
    pub(super) fn resolve(&self, path: &Path, exclude: &[String]) -> Result<ResolvedInput, StageError> {
        let path = self.project.join(path);
        let resolved = self.look(&path, exclude)?;
        // The recipe may name a link: what it points to is meant.
        let source = fs::canonicalize(&path).map_err(StageError::io("read", &path))?;
        self.sources.lock().expect("no panic while held").insert(content_digest(&resolved.content), source);
        Ok(resolved)
    }

    fn look(&self, path: &Path, exclude: &[String]) -> Result<ResolvedInput, StageError> {
        let meta = fs::metadata(path).map_err(StageError::io("read", path))?;
        if !meta.is_dir() {
            return Ok(ResolvedInput { content: self.file(path, &meta)?, ignored: Vec::new() });
        }
        let Tree { scanned, left_out } = self.tree(path, exclude)?;
        let id = scanned.root().tree_id();
        if self.store.index().get(Table::Trees, id.as_bytes())?.is_none() {
            scanned.remember(&self.trees);
        }
        let ignored = left_out.iter().filter(|path| !Ignore::is_own_rules(path));
        let ignored = ignored.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        Ok(ResolvedInput { content: ProjectContent::Tree(id), ignored })
    }

    /// Walks a directory.
    fn tree(&self, dir: &Path, exclude: &[String]) -> Result<Tree, StageError> {
        let meta = fs::metadata(dir).map_err(StageError::io("read", dir))?;
        let ignore = Ignore::for_tree(&self.project, dir)?.excluding(exclude)?;
        let scan =
            Scan { store: self.store, ignore, ignored: Mutex::default(), learnt: &self.learnt_directories };
        let scanned = scan.tree(dir, FileStamp::of(&meta))?;
        let mut left_out = scan.ignored.into_inner().expect("no panic while held");
        left_out.sort();
        Ok(Tree { scanned, left_out })
    }

    fn file(&self, path: &Path, meta: &Metadata) -> Result<ProjectContent, StageError> {
        if !meta.is_file() {
            return Err(StageError::Special(path.to_owned()));
        }
        let content = self.digest(path, meta)?;
        Ok(ProjectContent::File { content, size: meta.len(), access: Executable::of_mode(meta.mode()) })
    }

    /// The digest of a file's bytes. A file that looks as it did when it was read is not read again.
    fn digest(&self, path: &Path, meta: &Metadata) -> Result<BlobId, StageError> {
        let stamp = FileStamp::of(meta);
        let key = stamp.key();
        let known: Option<MemoEntry> = self.store.index().record(Table::Memo, &key)?;
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Ok(known.digest);
        }
        let target = fs::canonicalize(path).map_err(StageError::io("read", path))?;
        let Remembered { digest, entry } = read(&target, stamp)?;
        self.learnt.lock().expect("no panic while held").extend(entry.map(|entry| (key, entry)));
        Ok(digest)
    }

    /// What differs between two descriptions, file by file.
    pub(super) fn changes(&self, old: &Description, new: &Description) -> Vec<Change> {
        listed::changes(&self.trees, old, new)
    }

    /// Writes down what was learnt, and what others left as a hint.
    pub(super) fn flush(&self) -> Result<(), StageError> {
        let mut batch = Batch::default();
        for (key, entry) in std::mem::take(&mut *self.learnt.lock().expect("no panic while held")) {
            batch.put_record(Table::Memo, &key, &entry);
        }
        for (key, entry) in std::mem::take(&mut *self.learnt_directories.lock().expect("no panic while held"))
        {
            batch.put_record(Table::Memo, &key, &entry);
        }
        self.trees.flush(&mut batch);
        self.store.index().commit(batch)?;
        Ok(self.store.index().commit_hints()?)
    }

    /// Writes down the listings that are new, so that nothing remembered points at a listing that nobody knows.
    pub(super) fn flush_listings(&self) -> Result<(), StageError> {
        let mut batch = Batch::default();
        self.trees.flush(&mut batch);
        Ok(self.store.index().commit(batch)?)
    }
}

#[cfg(test)]
mod tests;
