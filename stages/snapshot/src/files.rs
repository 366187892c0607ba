//! What each layer of a snapshot holds, read from where it is unpacked, for those who place files by layer.
//!
//! What is read is a function of the layer alone, because capture makes an unpacked layer look exactly as if it had
//! been unpacked from its tarball. That goes for holes too.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use ibuild_cache::{BlobId, Cancel, LayerId};
use rayon::prelude::*;
use rustix::fs::{major, minor};
use serde::{Deserialize, Serialize};

use super::change::join;
use super::tree::{Entry, Kind, Metadata};
use super::{LayerStore, Snapshot, SnapshotError, TreeStore, device, holes, layer_index, xattr};

/// Paths relative to the root, each with what is there, a directory before what is in it.
pub type Listed<T> = Vec<(Vec<u8>, T)>;

/// One path of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerChange {
    /// The layer has this there.
    Set(LayerFile),
    /// The layer takes away what earlier ones have there.
    Removed,
}

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFile {
    /// Owner, mode, times, attributes.
    pub meta: Metadata,
    /// Type and content.
    pub kind: LayerKind,
}

/// What a file of a layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular(LayerContent),
    /// Another name for a file that came before it in the layer.
    Link(Vec<u8>),
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor.
    Char(u32, u32),
    /// A block device: major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The bytes of a file of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerContent {
    /// Their number.
    pub size: u64,
    /// Those that are in no hole.
    pub data: Vec<Range<u64>>,
    /// The name of what it holds, if it has holes.
    pub with_holes: Option<BlobId>,
    /// Where they can be read.
    #[serde(skip, default = "nowhere")]
    pub place: Arc<Path>,
}

fn nowhere() -> Arc<Path> {
    Path::new("").into()
}

/// What a layer holds that is unpacked in `dir`.
pub fn read_layer(dir: &Path, cancel: &Cancel) -> Result<Listed<LayerChange>, SnapshotError> {
    let mut changes = list(dir)?;
    holes::read(&mut changes, cancel)?;
    Ok(changes)
}

/// What a layer holds, without where its files have holes.
fn list(dir: &Path) -> Result<Listed<LayerChange>, SnapshotError> {
    Ok(linked(below(dir)?))
}

/// What each layer of the snapshot holds, lowest first.
pub fn read_layers(
    layers: &LayerStore<'_>,
    snapshot: &Snapshot,
) -> Result<Vec<Listed<LayerChange>>, SnapshotError> {
    let read =
        |layer: &LayerId| layer_index::find(layers.store(), layer, &layers.unpacked(layer)?, layers.cancel());
    snapshot.layers.par_iter().map(read).collect()
}

/// Every file of the snapshot as its tree has it.
pub fn read_tree(trees: &TreeStore<'_>, snapshot: &Snapshot) -> Result<Listed<Entry>, SnapshotError> {
    let (mut found, mut waiting) = (Vec::new(), vec![(Vec::new(), trees.root(snapshot.tree)?)]);
    while let Some((path, entry)) = waiting.pop() {
        if let Kind::Directory(listing) = entry.kind {
            let below = trees.listing(listing)?.entries.into_iter().rev();
            waiting.extend(below.map(|(name, child)| (join(&path, &name), child)));
        }
        found.push((path, entry));
    }
    Ok(found)
}

/// A path of a layer as the disk has it.
struct Seen {
    path: Vec<u8>,
    change: LayerChange,
    /// The inode of a file with several names.
    shared: Option<u64>,
}

impl Seen {
    fn new(path: Vec<u8>, meta: Metadata, kind: LayerKind) -> Self {
        Self { path, change: LayerChange::Set(LayerFile { meta, kind }), shared: None }
    }
}

/// Of several names of a file the first one is the file.
fn linked(seen: Vec<Seen>) -> Listed<LayerChange> {
    let mut firsts: HashMap<u64, Vec<u8>> = HashMap::new();
    let one = |Seen { path, mut change, shared }| {
        if let (Some(inode), LayerChange::Set(file)) = (shared, &mut change) {
            match firsts.get(&inode) {
                Some(first) => file.kind = LayerKind::Link(first.clone()),
                None => drop(firsts.insert(inode, path.clone())),
            }
        }
        (path, change)
    };
    seen.into_iter().map(one).collect()
}

/// A path that was seen, and where a directory is.
type Found = (Seen, Option<PathBuf>);

/// A directory and all that is in it, each directory before what is in it. Level by level, because whole levels are looked at
/// by several threads: looking at a file is waiting for the kernel.
fn below(dir: &Path) -> Result<Vec<Seen>, SnapshotError> {
    let meta = fs::symlink_metadata(dir).map_err(SnapshotError::io("look at", dir))?;
    let root = Seen::new(Vec::new(), metadata(dir, &meta)?, LayerKind::Directory);
    let mut levels = vec![vec![(root, Some(dir.to_owned()))]];
    let mut sizes: Vec<vec::IntoIter<usize>> = Vec::new();
    while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
        let inside = |(seen, disk): &Found| disk.as_ref().map(|disk| names(&seen.path, disk));
        let inside = level.par_iter().filter_map(inside).collect::<Result<Vec<_>, _>>()?;
        sizes.push(inside.iter().map(Vec::len).collect::<Vec<_>>().into_iter());
        let next = inside.into_par_iter().flatten().map(|(path, disk)| child(path, disk));
        levels.push(next.collect::<Result<_, SnapshotError>>()?);
    }
    Ok(in_order(levels, sizes))
}

/// Of each level the paths, and for each of its directories how many of the next level are in it.
fn in_order(levels: Vec<Vec<Found>>, mut sizes: Vec<vec::IntoIter<usize>>) -> Vec<Seen> {
    let mut ordered = Vec::with_capacity(levels.iter().map(Vec::len).sum());
    let mut levels: Vec<_> = levels.into_iter().map(Vec::into_iter).collect();
    let mut left = vec![1_usize];
    while let Some(here) = left.last_mut() {
        let Some(fewer) = here.checked_sub(1) else {
            left.pop();
            continue;
        };
        *here = fewer;
        let level = left.len() - 1;
        let (seen, disk) = levels[level].next().expect("as many as were counted");
        ordered.push(seen);
        if disk.is_some() {
            left.push(sizes[level].next().expect("each directory was counted"));
        }
    }
    ordered
}

/// What is in a directory, by name.
fn names(path: &[u8], disk: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>, SnapshotError> {
    let error = || SnapshotError::io("read", disk);
    let names = fs::read_dir(disk).map_err(error())?.map(|entry| Ok(entry?.file_name().into_vec()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(error())?;
    names.sort_unstable();
    let placed = |name: Vec<u8>| (join(path, &name), disk.join(std::ffi::OsString::from_vec(name)));
    Ok(names.into_iter().map(placed).collect())
}

fn child(path: Vec<u8>, disk: PathBuf) -> Result<Found, SnapshotError> {
    let meta = fs::symlink_metadata(&disk).map_err(SnapshotError::io("look at", &disk))?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok((Seen::new(path, metadata(&disk, &meta)?, LayerKind::Directory), Some(disk)));
    }
    if kind.is_char_device() && meta.rdev() == 0 {
        return Ok((Seen { path, change: LayerChange::Removed, shared: None }, None));
    }
    let mut own = metadata(&disk, &meta)?;
    let device = if kind.is_file() { device::take(&mut own.xattrs) } else { None };
    let shared = (kind.is_file() && device.is_none() && meta.nlink() > 1).then(|| meta.ino());
    let kind = match device {
        Some(Kind::Char(major, minor)) => LayerKind::Char(major, minor),
        Some(Kind::Block(major, minor)) => LayerKind::Block(major, minor),
        _ => kind_of(disk, &meta)?,
    };
    Ok((Seen { shared, ..Seen::new(path, own, kind) }, None))
}

fn kind_of(disk: PathBuf, meta: &fs::Metadata) -> Result<LayerKind, SnapshotError> {
    let (kind, device) = (meta.file_type(), meta.rdev());
    Ok(if kind.is_symlink() {
        let target = fs::read_link(&disk).map_err(SnapshotError::io("read", &disk))?;
        LayerKind::Symlink(target.into_os_string().into_vec())
    } else if kind.is_char_device() {
        LayerKind::Char(major(device), minor(device))
    } else if kind.is_block_device() {
        LayerKind::Block(major(device), minor(device))
    } else if kind.is_fifo() {
        LayerKind::Fifo
    } else {
        LayerKind::Regular(LayerContent {
            size: meta.len(),
            data: Vec::new(),
            with_holes: None,
            place: disk.into(),
        })
    })
}

fn metadata(disk: &Path, meta: &fs::Metadata) -> Result<Metadata, SnapshotError> {
    let xattrs = if meta.is_symlink() { BTreeMap::new() } else { xattr::read(disk, xattr::Side::Layer)? };
    Ok(Metadata { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), mtime: meta.mtime(), xattrs })
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{MemoryIndex, Store};

    use super::*;
    use crate::Listing;

    /// As deep as a path can be: whoever goes down with the stack of a thread does not come up again.
    #[test]
    fn a_deep_tree_is_read_in_the_order_of_its_paths() {
        const LEVELS: usize = 2000;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let trees = TreeStore::new(&store);
        let entry = |kind| Entry { meta: Metadata::default(), kind };
        let mut below = entry(Kind::Fifo);
        for _ in 0..LEVELS {
            let names = [("a", entry(Kind::Fifo)), ("d", below), ("z", entry(Kind::Fifo))];
            let entries = names.map(|(name, entry)| (name.as_bytes().to_vec(), entry)).into();
            below = entry(Kind::Directory(trees.add_listing(&Listing { entries })));
        }
        let snapshot = Snapshot::of(trees.add_root(&below), Vec::new());
        let found = read_tree(&trees, &snapshot).unwrap();
        assert_eq!(found.len(), 3 * LEVELS + 1);
        assert!(found.is_sorted_by(|(one, _), (next, _)| one < next));
    }
}
