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

use ibuild_cache::{LayerId, Stoppable};

use super::change::join;
use super::digest::{content_of, open_file};
use super::layers::{Links, write_entry};
use super::tarball::{Acls, TarWriter};
use super::tree::{Entry, Kind, TreeStore};
use super::{LayerStore, Snapshot, SnapshotError};

/// Writes every file of `snapshot`, in the canonical order, to `out`.
///
/// # Errors
///
/// [`SnapshotError::ChangedLayer`] if an unpacked layer does not hold what the tree says. It is removed by then, and unpacked
/// anew by whoever asks next.
pub fn write_flat(
    trees: &TreeStore<'_>,
    layers: &LayerStore<'_>,
    snapshot: &Snapshot,
    out: impl Write,
) -> Result<(), SnapshotError> {
    let sources = Sources::of(layers, snapshot)?;
    let tar = TarWriter::new(Stoppable::new(out, layers.cancel().clone()), Acls::TextToo);
    let mut flat = Flat { trees, layers, sources, tar, written: Links::default() };
    flat.everything(trees.root(snapshot.tree)?)?;
    flat.tar.finish().map_err(SnapshotError::io("write", Path::new("tarball")))?;
    Ok(())
}

/// Which layers have the bytes of files.
struct Sources {
    files: HashMap<Vec<u8>, Source>,
}

/// A file of an unpacked layer.
struct Source {
    disk: PathBuf,
    layer: LayerId,
}

impl Sources {
    /// Later layers replace what earlier ones said. What they removed is not asked for, because the tree does not
    /// have it.
    fn of(layers: &LayerStore<'_>, snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let mut sources = Self { files: HashMap::new() };
        for layer in &snapshot.layers {
            sources.add(layers.unpacked(layer)?, layer)?;
        }
        Ok(sources)
    }

    fn add(&mut self, place: PathBuf, layer: &LayerId) -> Result<(), SnapshotError> {
        let mut waiting = vec![(place, Vec::new())];
        while let Some((dir, path)) = waiting.pop() {
            let error = || SnapshotError::io("read", &dir);
            for file in fs::read_dir(&dir).map_err(error())? {
                let file = file.map_err(error())?;
                let kind = file.file_type().map_err(error())?;
                let path = join(&path, &file.file_name().into_vec());
                if kind.is_dir() {
                    waiting.push((file.path(), path));
                } else if kind.is_file() {
                    self.files.insert(path, Source { disk: file.path(), layer: *layer });
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
    layers: &'a LayerStore<'a>,
    sources: Sources,
    tar: TarWriter<W>,
    written: Links,
}

impl<W: Write> Flat<'_, W> {
    fn everything(&mut self, root: Entry) -> Result<(), SnapshotError> {
        let mut waiting = vec![(Vec::new(), root)];
        while let Some((path, entry)) = waiting.pop() {
            let disk = self.source(&path, &entry)?;
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

    /// Where the bytes of a file are, once they are known to be those of the tree. An unpacked layer that has others is
    /// removed.
    fn source(&self, path: &[u8], entry: &Entry) -> Result<PathBuf, SnapshotError> {
        let (Kind::File { content, .. }, Some(source)) = (&entry.kind, self.sources.files.get(path)) else {
            return Ok(PathBuf::new());
        };
        let file = open_file(&source.disk)?;
        let found =
            content_of(&file, self.layers.cancel()).map_err(SnapshotError::io("read", &source.disk))?;
        if found == *content {
            return Ok(source.disk.clone());
        }
        self.layers.store().discard(&self.layers.unpacked_path(&source.layer))?;
        Err(SnapshotError::ChangedLayer(source.layer))
    }
}
