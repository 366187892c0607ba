//! One walk over a directory of the project, by several threads: what a copy of it would be, and what is left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ibuild_cache::{BlobId, DirectoryMemo, FileStamp, MemoEntry, Store, Table, WatchedFile};
use rayon::prelude::*;

use super::super::StageError;
use crate::ignore::Ignore;
use crate::snapshot::{Entry, Kind, Listing, Metadata, PackedListing, TreeStore};

/// So many files are not worth another thread.
const FEW: usize = 64;

/// A directory as a copy of it would be: files of root, modes by the executable bit, no times.
pub(in crate::build) struct Scanned {
    listing: PackedListing,
    below: BTreeMap<Vec<u8>, Scanned>,
}

impl Scanned {
    fn new(found: Vec<Found>) -> Self {
        let (mut listing, mut below) = (Listing::default(), BTreeMap::new());
        for Found { name, entry, scanned, .. } in found {
            below.extend(scanned.map(|scanned| (name.clone(), *scanned)));
            listing.entries.insert(name, entry);
        }
        Self { listing: listing.packed(), below }
    }

    /// The whole tree by its root.
    pub(super) fn root(&self) -> Entry {
        entry(Kind::Directory(self.listing.id()), 0o755)
    }

    /// Remembers every directory.
    pub(super) fn remember(&self, trees: &TreeStore<'_>) {
        self.below.values().for_each(|scanned| scanned.remember(trees));
        trees.add_packed(&self.listing);
        trees.add_root(&self.root());
    }

    /// Everything in it by its path, each directory before what is in it.
    pub(in crate::build) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.collect_paths(Path::new(""), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &Path, paths: &mut Vec<PathBuf>) {
        for name in self.listing.unpacked().entries.keys() {
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

/// Something in a directory, to be looked at.
struct Child {
    name: Vec<u8>,
    place: DirEntry,
}

/// Something in a directory.
struct Found {
    name: Vec<u8>,
    entry: Entry,
    scanned: Option<Box<Scanned>>,
    memo: Memo,
}

/// What there is to remember of a file.
enum Memo {
    Nothing,
    /// What was remembered already.
    Known,
    Learnt(Box<MemoEntry>),
}

impl Found {
    fn new(name: Vec<u8>, kind: Kind, mode: u32) -> Self {
        Self { name, entry: entry(kind, mode), scanned: None, memo: Memo::Nothing }
    }
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
        let (dirs, files) = self.children(dir, below)?;
        let all = |children: Vec<Child>, few| -> Result<Vec<_>, _> {
            let children = children.into_par_iter().with_min_len(few);
            children.map(|child| self.child(child, below, &known)).collect()
        };
        let (dirs, files) = rayon::join(|| all(dirs, 1), || all(files, FEW));
        let mut found = dirs?;
        found.extend(files?);
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.learn(stamp, &known, &found);
        Ok(Scanned::new(found))
    }

    /// Takes down what is to be remembered of a directory, unless it is what was remembered before.
    fn learn(&self, stamp: &FileStamp, known: &DirectoryMemo, found: &[Found]) {
        let is_new = found.iter().any(|found| matches!(found.memo, Memo::Learnt(_)));
        let believed = found.iter().filter(|found| matches!(found.memo, Memo::Known)).count();
        if !is_new && believed == known.len() {
            return;
        }
        let memo = |found: &Found| match &found.memo {
            Memo::Nothing => None,
            Memo::Known => Some((found.name.clone(), known.entry(&found.name)?.clone())),
            Memo::Learnt(entry) => Some((found.name.clone(), (**entry).clone())),
        };
        let learnt = DirectoryMemo::new(found.iter().filter_map(memo));
        self.learnt.lock().expect("no panic while held").insert(stamp.key(), learnt);
    }

    /// What is in a directory and not left out: directories, and the rest.
    fn children(&self, dir: &Path, below: &[u8]) -> Result<(Vec<Child>, Vec<Child>), StageError> {
        let (mut dirs, mut files) = (Vec::new(), Vec::new());
        let mut path = below.to_vec();
        for child in fs::read_dir(dir).map_err(StageError::io("read", dir))? {
            let place = child.map_err(StageError::io("read", dir))?;
            let is_dir = place.file_type().map_err(StageError::io("read", dir))?.is_dir();
            let name = place.file_name().into_vec();
            path.truncate(below.len());
            path.extend_from_slice(&name);
            if self.ignore.ignores(&path, is_dir) {
                path.extend(is_dir.then_some(b'/'));
                self.ignored.lock().expect("no panic while held").push(path.clone());
                continue;
            }
            if is_dir { &mut dirs } else { &mut files }.push(Child { name, place });
        }
        Ok((dirs, files))
    }

    fn child(&self, child: Child, below: &[u8], known: &DirectoryMemo) -> Result<Found, StageError> {
        let Child { name, place } = child;
        let look = |e| StageError::io("look at", &place.path())(e);
        let meta = place.metadata().map_err(look)?;
        let stamp = FileStamp::of(&meta);
        if meta.is_dir() {
            let scanned = self.directory(&place.path(), &stamp, &[below, &name, b"/"].concat())?;
            let (entry, scanned) = (scanned.root(), Some(Box::new(scanned)));
            return Ok(Found { name, entry, scanned, memo: Memo::Nothing });
        }
        if meta.is_symlink() {
            let target = fs::read_link(place.path()).map_err(look)?.into_os_string().into_vec();
            return Ok(Found::new(name, Kind::Symlink(target), 0o777));
        }
        if !meta.is_file() {
            let reason = io::Error::other("it is neither a file, nor a directory, nor a link");
            return Err(StageError::io("copy", &place.path())(reason));
        }
        let (content, memo) = match known.digest(&name, &stamp) {
            Some(digest) => (digest, Memo::Known),
            None => read(&place.path(), stamp)?.into(),
        };
        let mode = if meta.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        let kind = Kind::File { content, size: meta.len(), link: None };
        Ok(Found { memo, ..Found::new(name, kind, mode) })
    }
}

/// A file's digest, and what may be remembered of it.
pub(super) struct Remembered {
    pub digest: BlobId,
    pub entry: Option<MemoEntry>,
}

impl From<Remembered> for (BlobId, Memo) {
    fn from(Remembered { digest, entry }: Remembered) -> Self {
        (digest, entry.map_or(Memo::Nothing, |entry| Memo::Learnt(Box::new(entry))))
    }
}

/// Reads a file that looked like `stamp` before. Only if it did so all the time, and every later change would show, is there
/// something to remember.
pub(super) fn read(path: &Path, stamp: FileStamp) -> Result<Remembered, StageError> {
    let watched = WatchedFile::open(path).map_err(StageError::io("open", path))?;
    let (digest, settled) = watched.digest().map_err(StageError::io("read", path))?;
    let entry = settled.filter(|settled| *settled == stamp).map(|stamp| MemoEntry { stamp, digest });
    Ok(Remembered { digest, entry })
}
