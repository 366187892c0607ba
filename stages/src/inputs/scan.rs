//! One walk over a directory of the project, by several threads: what a copy of it would be, and what is left out.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ibuild_cache::{BlobId, DirectoryMemo, FileStamp, MemoEntry, Store, Table, TreeId, WatchedFile};
use rayon::prelude::*;

use crate::StageError;
use crate::recipe::ignore::Ignore;
use crate::snapshot::{Entry, Kind, Listing, Metadata, PackedListing, TreeStore, hash_bytes};

/// So many files are not worth another thread.
const FEW: usize = 64;

/// A directory as a copy of it would be: files of root, modes by the executable bit, no times.
pub(super) struct Scanned {
    root: TreeId,
    /// It and all directories below it.
    listings: Vec<PackedListing>,
}

impl Scanned {
    /// The whole tree by its root.
    pub(super) fn root(&self) -> Entry {
        entry(Kind::Directory(self.root), 0o755)
    }

    /// Remembers every directory.
    pub(super) fn remember(&self, trees: &TreeStore<'_>) {
        self.listings.iter().for_each(|listing| trees.add_packed(listing));
        trees.add_root(&self.root());
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

/// What is in a directory.
#[derive(Default)]
struct Children {
    dirs: Vec<Child>,
    files: Vec<Child>,
    /// The names of what is left out and no directory.
    left_out: Vec<Vec<u8>>,
}

/// A directory to be read.
struct Directory {
    /// Where it is.
    path: PathBuf,
    /// Its path below what is scanned, with a slash at its end, or nothing.
    below: Vec<u8>,
    /// Its name.
    name: Vec<u8>,
    stamp: FileStamp,
    /// Which of the directories one level up it is in.
    parent: usize,
}

/// A directory that was read, but for the directories in it.
struct Read {
    name: Vec<u8>,
    parent: usize,
    found: Vec<Found>,
}

impl Read {
    /// Its name, its parent, and the listing of what is in it.
    fn packed(self) -> (Vec<u8>, usize, PackedListing) {
        let entries = self.found.into_iter().map(|Found { name, entry, .. }| (name, entry)).collect();
        (self.name, self.parent, Listing { entries }.packed())
    }
}

/// Something in a directory.
struct Found {
    name: Vec<u8>,
    entry: Entry,
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
        Self { name, entry: entry(kind, mode), memo: Memo::Nothing }
    }
}

impl Scan<'_> {
    /// Walks a directory, level by level: how deep it is does not matter to the stack.
    pub(super) fn tree(&self, dir: &Path, stamp: FileStamp) -> Result<Scanned, StageError> {
        let top = Directory { path: dir.to_owned(), below: Vec::new(), name: Vec::new(), stamp, parent: 0 };
        let (mut levels, mut level) = (Vec::new(), vec![top]);
        while !level.is_empty() {
            let read = level.into_par_iter().map(|directory| self.directory(directory));
            let (read, below): (Vec<_>, Vec<_>) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
            levels.push(read);
            let below = below.into_iter().enumerate();
            level = below
                .flat_map(|(parent, below)| below.into_iter().map(move |d| Directory { parent, ..d }))
                .collect();
        }
        Ok(assemble(levels))
    }

    /// Reads a directory; gives what is in it, and the directories in it, which are to be read next.
    fn directory(&self, directory: Directory) -> Result<(Read, Vec<Directory>), StageError> {
        let Directory { path, below, name, stamp, parent } = directory;
        let known: Option<DirectoryMemo> = self.store.index().record(Table::Memo, &stamp.key())?;
        let known = known.unwrap_or_default();
        let Children { dirs, files, left_out } = self.children(&path, &below)?;
        let files = files.into_par_iter().with_min_len(FEW).map(|child| self.file(child, &known));
        let found = files.collect::<Result<Vec<_>, _>>()?;
        self.learn(&stamp, &known, &found, &left_out);
        let next = dirs.into_iter().map(|child| next(child, &below)).collect::<Result<_, _>>()?;
        Ok((Read { name, parent, found }, next))
    }

    /// Takes down what is to be remembered of a directory, unless it is what was remembered before.
    /// What is left out here may be in another copy of the directory, so what is known of it stays known.
    fn learn(&self, stamp: &FileStamp, known: &DirectoryMemo, found: &[Found], left_out: &[Vec<u8>]) {
        let is_new = found.iter().any(|found| matches!(found.memo, Memo::Learnt(_)));
        let believed = found.iter().filter(|found| matches!(found.memo, Memo::Known)).count();
        let unseen = left_out.iter().filter(|name| known.entry(name).is_some()).count();
        if !is_new && believed + unseen == known.len() {
            return;
        }
        let memo = |found: &Found| match &found.memo {
            Memo::Nothing => None,
            Memo::Known => Some((found.name.clone(), known.entry(&found.name)?.clone())),
            Memo::Learnt(entry) => Some((found.name.clone(), (**entry).clone())),
        };
        let mut learnt = self.learnt.lock().expect("no panic while held");
        let meanwhile = learnt.get(&stamp.key());
        let of_another = |name: &Vec<u8>| {
            let entry = meanwhile.and_then(|memo| memo.entry(name)).or_else(|| known.entry(name))?;
            Some((name.clone(), entry.clone()))
        };
        let all = found.iter().filter_map(memo).chain(left_out.iter().filter_map(of_another));
        let memo = DirectoryMemo::new(all);
        learnt.insert(stamp.key(), memo);
    }

    /// What is in a directory.
    fn children(&self, dir: &Path, below: &[u8]) -> Result<Children, StageError> {
        let mut found = Children::default();
        let mut path = below.to_vec();
        for child in fs::read_dir(dir).map_err(StageError::io("read", dir))? {
            let place = child.map_err(StageError::io("read", dir))?;
            let is_dir = place.file_type().map_err(StageError::io("read", dir))?.is_dir();
            let name = place.file_name().into_vec();
            path.truncate(below.len());
            path.extend_from_slice(&name);
            if self.ignore.ignores(&path, is_dir) {
                if is_dir {
                    path.push(b'/')
                } else {
                    found.left_out.push(name)
                }
                self.ignored.lock().expect("no panic while held").push(path.clone());
                continue;
            }
            if is_dir { &mut found.dirs } else { &mut found.files }.push(Child { name, place });
        }
        Ok(found)
    }

    fn file(&self, child: Child, known: &DirectoryMemo) -> Result<Found, StageError> {
        let Child { name, place } = child;
        let look = |e| StageError::io("look at", &place.path())(e);
        let meta = place.metadata().map_err(look)?;
        let stamp = FileStamp::of(&meta);
        if meta.is_symlink() {
            let target = fs::read_link(place.path()).map_err(look)?.into_os_string().into_vec();
            return Ok(Found::new(name, Kind::Symlink(target), 0o777));
        }
        if !meta.is_file() {
            return Err(StageError::Special(place.path()));
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

/// A directory in another one.
fn next(Child { name, place }: Child, below: &[u8]) -> Result<Directory, StageError> {
    let path = place.path();
    let meta = place.metadata().map_err(StageError::io("look at", &path))?;
    let below = [below, &name, b"/"].concat();
    Ok(Directory { path, below, name, stamp: FileStamp::of(&meta), parent: 0 })
}

/// Names directories from the lowest level up, each by what is in it.
fn assemble(mut levels: Vec<Vec<Read>>) -> Scanned {
    let (mut listings, mut root) = (Vec::new(), TreeId::from_bytes([0; 32]));
    while let Some(level) = levels.pop() {
        let packed: Vec<_> = level.into_par_iter().map(Read::packed).collect();
        for (name, parent, listing) in packed {
            root = listing.id();
            if let Some(above) = levels.last_mut() {
                let found = Found::new(name, Kind::Directory(root), 0o755);
                above[parent].found.push(found);
            }
            listings.push(listing);
        }
    }
    Scanned { root, listings }
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
    let (digest, settled) = watched.read(hash_bytes).map_err(StageError::io("read", path))?;
    let entry = settled.filter(|settled| *settled == stamp).map(|stamp| MemoEntry { stamp, digest });
    Ok(Remembered { digest, entry })
}
