//! Layers: as tarballs in the content store, and unpacked for overlays.
//!
//! The directory of an unpacked layer contains the id mapping of the user namespace in its name
//! (`cache/src/layout.rs`): through another mapping its files would have other owners, and so would the
//! trees that stages make from it. A tarball that turns out to be damaged is removed; the build then decides again
//! about the stages that lead to it, and the one that made the layer runs again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ibuild_cache::{
    Batch, BlobId, BlobWriter, Cancel, Digest, LayerId, Layout, Record, Stoppable, Store, Table, is_stop,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use super::canonical::make_canonical;
use super::change::{Change, REMOVAL};
use super::eviction::mark_used;
use super::layer_groups::{self, Merged};
use super::prefetch::read_ahead;
use super::tarball::{Acls, TarWriter, segments};
use super::tree::{Entry, Kind};
use super::unpack::{Dialect, unpack};
use super::{Snapshot, SnapshotError};

/// Speed over size: a layer is written once and read seldom.
const ZSTD_LEVEL: i32 = 3;
/// One worker and two give the same bytes, none gives others; so there is always at least one.
const ZSTD_WORKERS: u32 = 2;

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name: the digest of the uncompressed tarball.
    pub id: LayerId,
    /// The compressed tarball.
    pub blob: BlobId,
    /// Bytes of the uncompressed tarball.
    pub raw_size: u64,
    /// Bytes of the compressed tarball.
    pub blob_size: u64,
    /// The number of changes in it.
    pub changes: u64,
}

impl Record for Layer {
    const SCHEMA: u16 = 1;
}

/// The layers of a store.
pub struct LayerStore<'s> {
    store: &'s Store,
    cancel: Cancel,
}

impl<'s> LayerStore<'s> {
    /// The layers of `store`.
    pub fn new(store: &'s Store) -> Self {
        Self { store, cancel: Cancel::default() }
    }

    /// The same for a user who may give up: what packs or unpacks a layer then ends, and leaves nothing.
    pub fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    pub(super) fn store(&self) -> &'s Store {
        self.store
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Where the layer is, or would be, unpacked.
    pub fn unpacked_path(&self, layer: &LayerId) -> PathBuf {
        self.store.layout().layers().join(Layout::layer_name(layer))
    }

    /// What is known of a layer, if its tarball is there.
    pub fn find(&self, layer: &LayerId) -> Result<Option<Layer>, SnapshotError> {
        let found: Option<Layer> = self.store.index().record(Table::Layers, layer.as_bytes())?;
        let Some(found) = found else { return Ok(None) };
        let size = self.store.blobs().size(&found.blob)?;
        Ok((size == Some(found.blob_size)).then_some(found))
    }

    /// Every layer that the index knows, whether or not its tarball is still there.
    pub fn all(&self) -> Result<Vec<Layer>, SnapshotError> {
        let rows = self.store.index().scan(Table::Layers, &[])?;
        Ok(rows.iter().filter_map(|(_, value)| Layer::from_bytes(value)).collect())
    }

    /// Whether the layer is unpacked, ready to be mounted.
    pub fn is_unpacked(&self, layer: &LayerId) -> bool {
        self.unpacked_path(layer).exists()
    }

    /// Forgets a layer, then removes its tarball and its directory: a crash in between leaves files that nobody
    /// knows. What is gone already is no error.
    pub fn remove(&self, layer: &Layer) -> Result<(), SnapshotError> {
        let mut batch = Batch::default();
        batch.delete(Table::Layers, layer.id.as_bytes());
        self.store.index().commit(batch)?;
        self.store.blobs().remove(&layer.blob)?;
        layer_groups::discard_with(self.store, &layer.id)?;
        Ok(self.store.discard(&self.unpacked_path(&layer.id))?)
    }

    /// Makes a layer of a captured directory: names it, moves it to where overlays find it, and writes the tarball. The
    /// fact goes into `batch`; until that is committed nobody knows the layer.
    pub fn publish(
        &self,
        dir: &Path,
        changes: &[(Vec<u8>, Change)],
        batch: &mut Batch,
    ) -> Result<Layer, SnapshotError> {
        let id = self.adopt(dir, changes)?;
        self.pack(&id, changes, batch)
    }

    /// The first half of [`LayerStore::publish`]: names a captured directory and moves it to where overlays find it, so
    /// that the next stage can stand on it. If the place is taken, what is there is as good.
    pub fn adopt(&self, dir: &Path, changes: &[(Vec<u8>, Change)]) -> Result<LayerId, SnapshotError> {
        make_canonical(dir, changes, &self.cancel)?;
        let mut named = Named::of(Stoppable::new(io::sink(), self.cancel.clone()));
        write_layer(dir, changes, &mut named)?;
        let id = LayerId::finish(named.hasher);
        self.move_in(dir, &id)?;
        info!(layer = %id.short(), changes = changes.len(), "captured");
        Ok(id)
    }

    /// The second half: writes the tarball of an adopted layer, unless the store has it.
    pub fn pack(
        &self,
        id: &LayerId,
        changes: &[(Vec<u8>, Change)],
        batch: &mut Batch,
    ) -> Result<Layer, SnapshotError> {
        let layer = match self.find(id)? {
            Some(known) => {
                debug!(layer = %id.short(), "its tarball is in the store");
                known
            }
            None => self.write_tarball(id, changes)?,
        };
        batch.put_record(Table::Layers, id.as_bytes(), &layer);
        Ok(layer)
    }

    fn write_tarball(&self, id: &LayerId, changes: &[(Vec<u8>, Change)]) -> Result<Layer, SnapshotError> {
        let dir = self.unpacked_path(id);
        let mut named =
            Named::of(Stoppable::new(compressor(self.store.blobs().writer()?), self.cancel.clone()));
        write_layer(&dir, changes, &mut named)?;
        let Named { inner, hasher, size: raw_size } = named;
        if LayerId::finish(hasher) != *id {
            // It would be taken for the layer again and again.
            self.store.discard(&dir)?;
            return Err(SnapshotError::ChangedLayer(*id));
        }
        let blob = inner.into_inner().finish().map_err(SnapshotError::io("compress", &dir))?.finish()?;
        let (blob, blob_size) = (blob.digest, blob.size);
        Ok(Layer { id: *id, blob, raw_size, blob_size, changes: changes.len() as u64 })
    }

    fn move_in(&self, dir: &Path, layer: &LayerId) -> Result<(), SnapshotError> {
        let place = self.unpacked_path(layer);
        match fs::rename(dir, &place) {
            Err(_) if place.exists() => Ok(()),
            renamed => renamed.map_err(SnapshotError::io("create", &place)),
        }
    }

    /// The directory of a layer, unpacked now if it is not there.
    pub fn unpacked(&self, layer: &LayerId) -> Result<PathBuf, SnapshotError> {
        let place = self.unpacked_path(layer);
        if place.exists() {
            mark_used(&place);
            return Ok(place);
        }
        let work = self.store.run_dir()?;
        let dir = work.path().join("layer");
        fs::create_dir(&dir).map_err(SnapshotError::io("create", &dir))?;
        self.restore(layer, &dir)?;
        self.move_in(&dir, layer)?;
        Ok(place)
    }

    /// The names of the directories that make a file system for an overlay, topmost first, all of them there. Of a long
    /// chain, lower layers are merged, so that they are few.
    pub fn lowers(&self, layers: &[LayerId]) -> Result<Vec<String>, SnapshotError> {
        let (groups, single) = layer_groups::split(layers);
        let (root, mut below) = (self.store.layout().layers(), Vec::new());
        for group in &groups {
            self.merge(group, &root.join(group.name()), &below)?;
            below.insert(0, root.join(group.name()));
        }
        // All of them, also when one is damaged: who makes that again wants to know at once what else is.
        let unpacked: Vec<_> = single.par_iter().map(|layer| self.unpacked(layer).map(drop)).collect();
        unpacked.into_iter().collect::<Result<(), _>>()?;
        let names = groups.iter().map(|group| group.name().to_owned());
        Ok(names.chain(single.iter().map(Layout::layer_name)).rev().collect())
    }

    /// Makes the directory that does what a group of layers do one upon the other, if it is not there. `below` are the
    /// directories of the groups below it, topmost first.
    fn merge(&self, group: &Merged<'_>, place: &Path, below: &[PathBuf]) -> Result<(), SnapshotError> {
        if place.exists() {
            group.layers.iter().for_each(|layer| mark_used(&self.unpacked_path(layer)));
            return Ok(());
        }
        let dirs =
            group.layers.par_iter().map(|layer| self.unpacked(layer)).collect::<Result<Vec<_>, _>>()?;
        let work = self.store.run_dir()?;
        group.make(&dirs, below, &work.path().join("merged"), place)
    }

    /// Unpacks a tarball, and checks that it is the layer's before anybody uses it. A damaged one is removed.
    fn restore(&self, layer: &LayerId, dir: &Path) -> Result<(), SnapshotError> {
        let missing = || SnapshotError::MissingLayer(*layer);
        let found = self.find(layer)?.ok_or_else(missing)?;
        let blob = self.store.blobs().open(&found.blob)?.ok_or_else(missing)?;
        let decoder = zstd::Decoder::new(blob).map_err(SnapshotError::io("unpack", dir))?;
        let inner = Stoppable::new(decoder, self.cancel.clone());
        let reader = HashingReader::new(inner);
        let (unpacked, reader) = read_ahead(reader, |bytes| unpack(bytes, dir, Dialect::Layer));
        // A damaged tarball usually does not even parse; its digest is the better reason.
        let is_whole = match reader {
            Ok(reader) => reader.finish() == *layer,
            // The disk did not give the bytes, or nobody wants them any more; nothing is known of them.
            Err(e) if e.raw_os_error().is_some() || is_stop(&e) => {
                return Err(SnapshotError::io("unpack", dir)(e));
            }
            Err(_) => false,
        };
        if is_whole {
            return unpacked;
        }
        // As long as the tarball is there, results that stand on it would be hits, and nobody would make it again.
        self.store.blobs().remove(&found.blob)?;
        Err(missing())
    }

    /// Whether everything that the snapshot needs is in the store. What `below` needs is, and so are layers in `known`;
    /// those that were found come to them.
    pub fn has(
        &self,
        snapshot: &Snapshot,
        below: Option<&Snapshot>,
        known: &mut HashSet<LayerId>,
    ) -> Result<bool, SnapshotError> {
        let below = below.map_or(&[][..], |below| &below.layers);
        for layer in snapshot.layers.strip_prefix(below).unwrap_or(&snapshot.layers) {
            if known.contains(layer) {
                continue;
            }
            if self.find(layer)?.is_none() {
                return Ok(false);
            }
            known.insert(*layer);
        }
        Ok(self.store.index().get(Table::Trees, snapshot.tree.as_bytes())?.is_some())
    }
}

fn write_layer(dir: &Path, changes: &[(Vec<u8>, Change)], out: &mut impl Write) -> Result<(), SnapshotError> {
    let mut tar = TarWriter::new(io::BufWriter::with_capacity(1 << 20, out), Acls::Attributes);
    let mut written = Links::default();
    for (path, change) in changes {
        let disk = dir.join(std::ffi::OsStr::from_bytes(path));
        let packed = match change {
            Change::Set(entry) => write_entry(&mut tar, path, entry, &disk, &mut written),
            Change::Removed => tar.marker(&whiteout(path)),
        };
        packed.map_err(SnapshotError::io("pack", &disk))?;
    }
    tar.finish().and_then(|mut out| out.flush()).map_err(SnapshotError::io("pack", dir))
}

fn whiteout(path: &[u8]) -> Vec<u8> {
    let slash = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    [&path[..slash], REMOVAL, &path[slash..]].concat()
}

/// The files with several names that are in a tarball, by what all of their names have, with the first name and its entry.
#[derive(Default)]
pub(super) struct Links(HashMap<Vec<u8>, Vec<(Vec<u8>, Entry)>>);

impl Links {
    /// The name that a file has in the tarball already; if it has none, it gets this one.
    fn find_or_add(&mut self, link: &[u8], path: &[u8], entry: &Entry) -> Option<&[u8]> {
        let files = self.0.entry(link.to_vec()).or_default();
        match files.iter().position(|(_, there)| there == entry) {
            Some(at) => Some(&files[at].0),
            None => {
                files.push((path.to_vec(), entry.clone()));
                None
            }
        }
    }
}

/// Writes one entry; of a file that is in the tarball already only the name.
pub(super) fn write_entry<W: Write>(
    tar: &mut TarWriter<W>,
    path: &[u8],
    entry: &Entry,
    disk: &Path,
    written: &mut Links,
) -> io::Result<()> {
    let path = if path.is_empty() { b"." } else { path };
    let Kind::File { size, link, .. } = &entry.kind else {
        return tar.special(path, &entry.meta, &entry.kind);
    };
    if let Some(link) = link
        && let Some(there) = written.find_or_add(link, path, entry)
    {
        return tar.hard_link(path, &entry.meta, there);
    }
    let mut file = File::open(disk)?;
    let segments = segments(&file, *size)?;
    tar.file(path, &entry.meta, &mut file, *size, &segments)
}

fn compressor(blob: BlobWriter<BlobId>) -> zstd::Encoder<'static, BlobWriter<BlobId>> {
    let encoder = zstd::Encoder::new(blob, ZSTD_LEVEL).and_then(|mut encoder| {
        encoder.multithread(ZSTD_WORKERS)?;
        encoder.include_checksum(true)?;
        Ok(encoder)
    });
    encoder.expect("the parameters are constant and valid")
}

/// Names bytes on their way to another writer.
struct Named<W> {
    inner: W,
    hasher: <LayerId as Digest>::Hasher,
    size: u64,
}

impl<W> Named<W> {
    fn of(inner: W) -> Self {
        Self { inner, hasher: <LayerId as Digest>::Hasher::default(), size: 0 }
    }
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        LayerId::update(&mut self.hasher, &bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct HashingReader<R> {
    inner: R,
    hasher: <LayerId as Digest>::Hasher,
}

impl<R> HashingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: <LayerId as Digest>::Hasher::default() }
    }

    /// The layer that has what was read.
    pub(super) fn finish(self) -> LayerId {
        LayerId::finish(self.hasher)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        LayerId::update(&mut self.hasher, &buffer[..length]);
        Ok(length)
    }
}
