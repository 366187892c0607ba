//! One walk over a directory of the project, by several threads: what a copy of it would be, and what is left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use ibuild_cache::{BlobId, DirectoryMemo, FileStamp, MemoEntry, Store, Table, TreeId};
use rayon::prelude::*;

use super::super::StageError;
use crate::ignore::Ignore;
use crate::snapshot::{Entry, Kind, Listing, Metadata, TreeStore, hash_file};

/// So many files are not worth another thread.
const FEW: usize = 64;

/// A directory as a copy of it would be: files of root, modes by the executable bit, no times.
pub(in crate::build) struct Scanned {
    id: TreeId,
    listing: Listing,
    below: BTreeMap<Vec<u8>, Scanned>,
}

impl Scanned {
    fn new(found: Vec<Found>) -> Self {
        let (mut listing, mut below) = (Listing::default(), BTreeMap::new());
        for Found { name, entry, scanned, .. } in found {
            below.extend(scanned.map(|scanned| (name.clone(), scanned)));
            listing.entries.insert(name, entry);
        }
        Self { id: listing.id(), listing, below }
    }

    /// The whole tree by its root.
    pub(super) fn root(&self) -> Entry {
        entry(Kind::Directory(self.id), 0o755)
    }

    /// Remembers every directory.
    pub(super) fn remember(&self, trees: &TreeStore<'_>) {
        self.below.values().for_each(|scanned| scanned.remember(trees));
        trees.add_listing(&self.listing);
        trees.add_root(&self.root());
    }

    /// Everything in it by its path, each directory before what is in it.
    pub(in crate::build) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.collect_paths(Path::new(""), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &Path, paths: &mut Vec<PathBuf>) {
        for name in self.listing.entries.keys() {
            let path = prefix.join(OsStr::from_bytes(name));
            paths.push(path.clone());
            if let Some(scanned) = self.below.get(name) {
                scanned.collect_paths(&path, paths);
            }
        }
    }
}

fn entry(kind: Kind, mode: u32) -> Entry {
    Entry { meta: Metadata { mode, ..Metadata::default() }, kind }
}

/// A walk in progress.
pub(super) struct Scan<'a> {
    pub store: &'a Store,
    pub ignore: Ignore,
    /// Paths of what is left out, with a slash after those of directories.
    pub ignored: Mutex<Vec<Vec<u8>>>,
    /// What is to be remembered of directories.
    pub learnt: &'a Mutex<BTreeMap<[u8; 16], DirectoryMemo>>,
}

/// Something in a directory.
struct Found {
    name: Vec<u8>,
    entry: Entry,
    scanned: Option<Scanned>,
    memo: Option<MemoEntry>,
}

impl Scan<'_> {
    /// Walks a directory, of which `below` is the path with a slash at its end, or nothing.
    pub(super) fn directory(
        &self,
        dir: &Path,
        stamp: &FileStamp,
        below: &[u8],
    ) -> Result<Scanned, StageError> {
        let known: Option<DirectoryMemo> = self.store.index().record(Table::Memo, &stamp.key())?;
        let known = known.unwrap_or_default();
        let found = self.children(dir, below)?.into_par_iter().with_min_len(FEW);
        let found: Result<Vec<_>, _> = found.map(|child| self.child(&child, below, &known)).collect();
        let mut found = found?;
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let memos = found.iter_mut().filter_map(|found| Some((found.name.clone(), found.memo.take()?)));
        let learnt = DirectoryMemo::new(memos);
        if learnt != known {
            self.learnt.lock().expect("no panic while held").insert(stamp.key(), learnt);
        }
        Ok(Scanned::new(found))
    }

    /// What is in a directory and not left out.
    fn children(&self, dir: &Path, below: &[u8]) -> Result<Vec<DirEntry>, StageError> {
        let mut kept = Vec::new();
        for child in fs::read_dir(dir).map_err(StageError::io("read", dir))? {
            let child = child.map_err(StageError::io("read", dir))?;
            let is_dir = child.file_type().map_err(StageError::io("read", dir))?.is_dir();
            let mut path = [below, child.file_name().as_bytes()].concat();
            if !self.ignore.ignores(&path, is_dir) {
                kept.push(child);
                continue;
            }
            path.extend(is_dir.then_some(b'/'));
            self.ignored.lock().expect("no panic while held").push(path);
        }
        Ok(kept)
    }

    fn child(&self, child: &DirEntry, below: &[u8], known: &DirectoryMemo) -> Result<Found, StageError> {
        let look = |e| StageError::io("look at", &child.path())(e);
        let (name, meta) = (child.file_name().into_vec(), child.metadata().map_err(look)?);
        let stamp = FileStamp::of(&meta);
        if meta.is_dir() {
            let scanned = self.directory(&child.path(), &stamp, &[below, &name, b"/"].concat())?;
            return Ok(Found { name, entry: scanned.root(), scanned: Some(scanned), memo: None });
        }
        if meta.is_symlink() {
            let target = fs::read_link(child.path()).map_err(look)?.into_os_string().into_vec();
            return Ok(Found { name, entry: entry(Kind::Symlink(target), 0o777), scanned: None, memo: None });
        }
        if !meta.is_file() {
            let reason = io::Error::other("it is neither a file, nor a directory, nor a link");
            return Err(StageError::io("copy", &child.path())(reason));
        }
        let Remembered { digest, entry: memo } = match known.digest(&name, &stamp) {
            Some(digest) => Remembered { digest, entry: Some(MemoEntry { stamp, digest }) },
            None => read(&child.path(), stamp)?,
        };
        let mode = if meta.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        let kind = Kind::File { content: digest, size: meta.len(), link: None };
        Ok(Found { name, entry: entry(kind, mode), scanned: None, memo })
    }
}

/// A file's digest, and what may be remembered of it.
pub(super) struct Remembered {
    pub digest: BlobId,
    pub entry: Option<MemoEntry>,
}

/// Reads a file that looked like `stamp` before. Only if it still does, and its last change is so old that another one
/// would show, is there something to remember.
pub(super) fn read(path: &Path, stamp: FileStamp) -> Result<Remembered, StageError> {
    let digest = hash_file(path)?;
    let after = fs::symlink_metadata(path).map_err(StageError::io("look at", path))?;
    let is_safe = FileStamp::of(&after) == stamp && stamp.is_settled(SystemTime::now());
    Ok(Remembered { digest, entry: is_safe.then_some(MemoEntry { stamp, digest }) })
}
