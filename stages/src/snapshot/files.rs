//! What each layer of a snapshot holds, read from where it is unpacked, for those who place files by layer.
//!
//! What is read is a function of the layer alone, because capture makes an unpacked layer look exactly as if it had
//! been unpacked from its tarball. That goes for holes too: a hole is a block of zeros, whatever the disk has there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibuild_cache::LayerId;
use rayon::prelude::*;
use rustix::fs::{major, minor};
use serde::{Deserialize, Serialize};

use super::capture::join;
use super::tree::{Entry, Kind, Metadata};
use super::{LayerStore, Snapshot, SnapshotError, TreeStore, device, held, holes, xattr};

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
    /// Where they can be read.
    #[serde(skip, default = "nowhere")]
    pub place: Arc<Path>,
}

fn nowhere() -> Arc<Path> {
    Path::new("").into()
}

/// What a layer holds that is unpacked in `dir`.
pub fn read_layer(dir: &Path) -> Result<Listed<LayerChange>, SnapshotError> {
    let mut changes = list(dir)?;
    holes::read(&mut changes)?;
    Ok(changes)
}

/// What a layer holds, without where its files have holes.
fn list(dir: &Path) -> Result<Listed<LayerChange>, SnapshotError> {
    let meta = fs::symlink_metadata(dir).map_err(SnapshotError::io("look at", dir))?;
    Ok(linked(directory(b"", dir, &meta)?))
}

/// What each layer of the snapshot holds, lowest first.
pub fn read_layers(
    layers: &LayerStore<'_>,
    snapshot: &Snapshot,
) -> Result<Vec<Listed<LayerChange>>, SnapshotError> {
    let read = |layer: &LayerId| held::find(layers.store(), layer, &layers.unpacked(layer)?);
    snapshot.layers.par_iter().map(read).collect()
}

/// Every file of the snapshot as its tree has it.
pub fn read_tree(trees: &TreeStore<'_>, snapshot: &Snapshot) -> Result<Listed<Entry>, SnapshotError> {
    with_all_below(trees, Vec::new(), trees.root(snapshot.tree)?)
}

/// An entry and all that is below it, by several threads.
fn with_all_below(
    trees: &TreeStore<'_>,
    path: Vec<u8>,
    entry: Entry,
) -> Result<Listed<Entry>, SnapshotError> {
    let Kind::Directory(listing) = entry.kind else { return Ok(vec![(path, entry)]) };
    let entries = trees.listing(listing)?.entries;
    let is_directory = |entry: &Entry| matches!(entry.kind, Kind::Directory(_));
    let directories: Vec<_> = entries.iter().filter(|(_, child)| is_directory(child)).collect();
    let read = |(name, child): (&Vec<u8>, &Entry)| with_all_below(trees, join(&path, name), child.clone());
    let mut below = directories.into_par_iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut found =
        Vec::with_capacity(1 + entries.len() + below.as_slice().iter().map(Vec::len).sum::<usize>());
    found.push((path.clone(), entry));
    for (name, child) in entries {
        if is_directory(&child) {
            found.extend(below.next().expect("one for each directory"));
        } else {
            found.push((join(&path, &name), child));
        }
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

/// A directory and all that is in it, by several threads: looking at a file is waiting for the kernel.
fn directory(path: &[u8], disk: &Path, meta: &fs::Metadata) -> Result<Vec<Seen>, SnapshotError> {
    let error = || SnapshotError::io("read", disk);
    let names = fs::read_dir(disk).map_err(error())?.map(|entry| Ok(entry?.file_name().into_vec()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(error())?;
    names.sort_unstable();
    let below = names.into_par_iter().map(|name| {
        let own = join(path, &name);
        child(own, disk.join(std::ffi::OsString::from_vec(name)))
    });
    let below = below.collect::<Result<Vec<_>, SnapshotError>>()?;
    let mut seen = Vec::with_capacity(1 + below.iter().map(Vec::len).sum::<usize>());
    seen.push(Seen::new(path.to_vec(), metadata(disk, meta)?, LayerKind::Directory));
    below.into_iter().for_each(|some| seen.extend(some));
    Ok(seen)
}

fn child(path: Vec<u8>, disk: PathBuf) -> Result<Vec<Seen>, SnapshotError> {
    let meta = fs::symlink_metadata(&disk).map_err(SnapshotError::io("look at", &disk))?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return directory(&path, &disk, &meta);
    }
    if kind.is_char_device() && meta.rdev() == 0 {
        return Ok(vec![Seen { path, change: LayerChange::Removed, shared: None }]);
    }
    let mut own = metadata(&disk, &meta)?;
    let device = if kind.is_file() { device::take(&mut own.xattrs) } else { None };
    let shared = (kind.is_file() && device.is_none() && meta.nlink() > 1).then(|| meta.ino());
    let kind = match device {
        Some(Kind::Char(major, minor)) => LayerKind::Char(major, minor),
        Some(Kind::Block(major, minor)) => LayerKind::Block(major, minor),
        _ => kind_of(disk, &meta)?,
    };
    Ok(vec![Seen { shared, ..Seen::new(path, own, kind) }])
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
        LayerKind::Regular(LayerContent { size: meta.len(), data: Vec::new(), place: disk.into() })
    })
}

fn metadata(disk: &Path, meta: &fs::Metadata) -> Result<Metadata, SnapshotError> {
    let xattrs = if meta.is_symlink() { BTreeMap::new() } else { xattr::read(disk, xattr::Side::Layer)? };
    Ok(Metadata { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), mtime: meta.mtime(), xattrs })
}
