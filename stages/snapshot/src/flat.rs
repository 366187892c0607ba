//! A whole snapshot as one tarball, without mounting anything.
//!
//! Names and metadata come from the tree, bytes from the topmost layer that has the file: so the result is a function of
//! the tree alone, and device nodes need no privilege. It is made for other programs, so ACLs are told in their way.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ibuild_cache::Stoppable;

use super::capture::join;
use super::layers::{Links, write_entry};
use super::tarball::{Acls, TarWriter};
use super::tree::{Entry, Kind, TreeStore};
use super::{LayerStore, Snapshot, SnapshotError};

/// Writes every file of `snapshot`, in the canonical order, to `out`.
pub fn write_flat(
    trees: &TreeStore<'_>,
    layers: &LayerStore<'_>,
    snapshot: &Snapshot,
    out: impl Write,
) -> Result<(), SnapshotError> {
    let sources = Sources::of(layers, snapshot)?;
    let tar = TarWriter::new(Stoppable::new(out, layers.cancel().clone()), Acls::TextToo);
    let mut flat = Flat { trees, sources, tar, written: Links::default() };
    flat.everything(trees.root(snapshot.tree)?)?;
    flat.tar.finish().map_err(SnapshotError::io("write", Path::new("tarball")))?;
    Ok(())
}

/// Which directory on disk has the bytes of a file.
struct Sources {
    files: HashMap<Vec<u8>, PathBuf>,
}

impl Sources {
    /// Later layers replace what earlier ones said. What they removed is not asked for, because the tree does not
    /// have it.
    fn of(layers: &LayerStore<'_>, snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let mut sources = Self { files: HashMap::new() };
        for layer in &snapshot.layers {
            let dir = layers.unpacked(layer)?;
            sources.add(dir)?;
        }
        Ok(sources)
    }

    fn add(&mut self, layer: PathBuf) -> Result<(), SnapshotError> {
        let mut waiting = vec![(layer, Vec::new())];
        while let Some((dir, path)) = waiting.pop() {
            let error = || SnapshotError::io("read", &dir);
            for file in fs::read_dir(&dir).map_err(error())? {
                let file = file.map_err(error())?;
                let kind = file.file_type().map_err(error())?;
                let path = join(&path, &file.file_name().into_vec());
                if kind.is_dir() {
                    waiting.push((file.path(), path));
                } else if kind.is_file() {
                    self.files.insert(path, file.path());
                } else {
                    debug_assert!(!kind.is_socket(), "a capture drops sockets");
                }
            }
        }
        Ok(())
    }
}

struct Flat<'a, W> {
    trees: &'a TreeStore<'a>,
    sources: Sources,
    tar: TarWriter<W>,
    written: Links,
}

impl<W: Write> Flat<'_, W> {
    fn everything(&mut self, root: Entry) -> Result<(), SnapshotError> {
        let mut waiting = vec![(Vec::new(), root)];
        while let Some((path, entry)) = waiting.pop() {
            let disk = self.sources.files.get(&path).cloned().unwrap_or_default();
            write_entry(&mut self.tar, &path, &entry, &disk, &mut self.written).map_err(
                SnapshotError::io("pack", &PathBuf::from(std::ffi::OsString::from_vec(path.clone()))),
            )?;
            if let Kind::Directory(listing) = entry.kind {
                let below = self.trees.listing(listing)?.entries.into_iter().rev();
                waiting.extend(below.map(|(name, child)| (join(&path, &name), child)));
            }
        }
        Ok(())
    }
}
