//! What has come of an archive and is in nobody's way yet: blobs in a scratch store beside the store.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use ibuild_cache::{BlobId, BlobStore, Cancel, Digest, LayerId, MemoryIndex, RunDir, Store, Stored};

use super::import_error::ImportError;
use super::manifest::{Entry, ExportedBlob, ExportedLayer, Manifest};
use super::source::Files;
use crate::image::has_packs;
use crate::output::{Artifact, Composed, StoredBlob};
use crate::publish::restore::compose_into;
use crate::snapshot::unpack::{Dialect, unpack};
use crate::snapshot::{Change, LayerStore, SnapshotError};

/// No file system of a machine has files of so many bytes together; holes cost nothing in an archive, and hours to be read.
const MOST_UNPACKED: u64 = 1 << 40;

/// The blobs of an archive.
pub(super) struct Received<'c> {
    scratch: Store,
    dir: RunDir,
    cancel: &'c Cancel,
}

impl<'c> Received<'c> {
    /// Takes the files that the manifest names, each of which has to have its name.
    pub(super) fn take(
        store: &Store,
        manifest: &Manifest,
        files: &mut Files<'_>,
        cancel: &'c Cancel,
    ) -> Result<Self, ImportError> {
        let dir = store.run_dir()?;
        let scratch = Store::open(&dir.path().join("scratch"), |_| MemoryIndex::default())?;
        let received = Self { scratch, dir, cancel };
        received.check_space(manifest)?;
        for entry in &manifest.entries {
            files.pass_on(&entry.name(), entry.size(), |bytes| received.take_one(entry, bytes))?;
        }
        files.end()?;
        Ok(received)
    }

    /// Refuses before anything is written what cannot fit.
    fn check_space(&self, manifest: &Manifest) -> Result<(), ImportError> {
        // One layer at a time is unpacked.
        let largest = manifest.layers.iter().map(|layer| layer.raw_size).max().unwrap_or(0);
        let sizes = manifest.entries.iter().map(Entry::size);
        let needed = sizes.fold(largest, u64::saturating_add);
        let free = rustix::fs::statvfs(self.dir.path()).map_err(|error| ImportError::Read(error.into()))?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if needed > free { Err(ImportError::NoRoom { needed, free }) } else { Ok(()) }
    }

    fn take_one(&self, entry: &Entry, bytes: &mut dyn Read) -> Result<(), ImportError> {
        let (is_named, size) = match entry {
            Entry::Blob { file } => {
                let stored = receive(&self.scratch.blobs(), bytes, self.cancel)?;
                (stored.digest == file.blob, stored.size)
            }
            Entry::Package { sha256, .. } => {
                let stored = receive(&self.scratch.packages(), bytes, self.cancel)?;
                (stored.digest == *sha256, stored.size)
            }
        };
        match is_named {
            true => Ok(()),
            false if size < entry.size() => Err(ImportError::Truncated(entry.name())),
            false => Err(ImportError::OtherBytes(entry.name())),
        }
    }

    /// Unpacks a layer into an empty directory, if its uncompressed bytes have its name and number.
    pub(super) fn unpack(&self, layer: &ExportedLayer) -> Result<std::path::PathBuf, ImportError> {
        let name = || layer.layer.short();
        let mut counted = Counted { hasher: <LayerId as Digest>::Hasher::default(), left: layer.raw_size };
        let mut decoder = self.decoder(&layer.tarball)?;
        io::copy(&mut decoder, &mut counted).map_err(|error| unreadable(error, &name()))?;
        if LayerId::finish(counted.hasher) != layer.layer || counted.left != 0 {
            return Err(ImportError::Layer(name()));
        }
        let dir = self.dir.path().join("layer");
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ImportError::Read(error)),
            _ => fs::create_dir(&dir).map_err(ImportError::Read)?,
        }
        unpack(self.decoder(&layer.tarball)?, &dir, Dialect::Layer).map_err(|error| {
            match is_full(&error) {
                true => ImportError::Snapshot(error),
                false => ImportError::Layer(name()),
            }
        })?;
        match bytes_below(&dir).map_err(ImportError::Read)? > MOST_UNPACKED {
            true => Err(ImportError::TooLarge(format!("the layer {}", name()))),
            false => Ok(dir),
        }
    }

    fn decoder(&self, blob: &ExportedBlob) -> Result<impl Read + use<>, ImportError> {
        let file =
            self.scratch.blobs().open(&blob.blob)?.ok_or_else(|| ImportError::Missing(blob.blob.hex()))?;
        zstd::Decoder::new(file).map_err(ImportError::Read)
    }

    /// Whether a directory that was captured is this layer, as its tarball would be written.
    pub(super) fn is_layer(
        &self,
        dir: &Path,
        changes: &[(Vec<u8>, Change)],
        layer: &LayerId,
    ) -> Result<bool, ImportError> {
        let layers = LayerStore::new(&self.scratch).until(self.cancel);
        let found = layers.adopt(dir, changes)?;
        // It has moved there; the next one has the room that it took.
        fs::remove_dir_all(layers.unpacked_path(&found)).map_err(ImportError::Read)?;
        Ok(found == *layer)
    }

    /// Whether the parts of a file make the file, all of them and no others.
    pub(super) fn composes(&self, made: &Composed) -> Result<bool, ImportError> {
        if !has_packs(&self.scratch, made).unwrap_or(false) {
            return Ok(false);
        }
        let path = self.dir.path().join("file");
        fs::write(&path, b"").map_err(ImportError::Read)?;
        let is_whole = compose_into(&self.scratch, &path, made, self.cancel);
        let size = fs::metadata(&path).map_err(ImportError::Read)?.len();
        fs::remove_file(&path).map_err(ImportError::Read)?;
        // A composition that cannot be read is none.
        Ok(is_whole.unwrap_or(false) && size == made.file.size)
    }

    /// The bytes of a small blob.
    pub(super) fn read(&self, blob: &BlobId) -> Result<Vec<u8>, ImportError> {
        self.scratch.blobs().read(blob)?.ok_or_else(|| ImportError::Missing(blob.hex()))
    }

    /// Puts everything into the store, where nobody knows of it yet. Rows of facts go into the index, and are no blobs there.
    pub(super) fn adopt(&self, store: &Store, manifest: &Manifest) -> Result<(), ImportError> {
        let mut rows: BTreeSet<_> = manifest.results.iter().filter_map(|result| result.packages).collect();
        manifest.named_blobs().for_each(|blob| {
            rows.remove(&blob);
        });
        for entry in &manifest.entries {
            match entry {
                Entry::Blob { file } if rows.contains(&file.blob) => {}
                Entry::Blob { file } => adopt(&self.scratch.blobs(), &store.blobs(), &file.blob, file.size)?,
                Entry::Package { sha256, size } => {
                    adopt(&self.scratch.packages(), &store.packages(), sha256, *size)?;
                }
            }
        }
        Ok(())
    }
}

fn receive<D: Digest>(
    blobs: &BlobStore<D>,
    bytes: &mut dyn Read,
    cancel: &Cancel,
) -> Result<Stored<D>, ImportError> {
    let mut writer = blobs.writer()?;
    let mut stoppable = ibuild_cache::Stoppable::new(bytes, cancel.clone());
    io::copy(&mut stoppable, &mut writer).map_err(ImportError::Read)?;
    Ok(writer.finish()?)
}

/// What is there already stays: a build may be reading it.
fn adopt<D: Digest>(
    from: &BlobStore<D>,
    to: &BlobStore<D>,
    digest: &D,
    size: u64,
) -> Result<(), ImportError> {
    if to.size(digest)? == Some(size) && to.verify(digest)? == Some(true) {
        return Ok(());
    }
    Ok(to.adopt(&from.path(digest), digest)?)
}

/// Names bytes of which there may be so many.
struct Counted {
    hasher: <LayerId as Digest>::Hasher,
    left: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("more than was said"))?;
        LayerId::update(&mut self.hasher, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the disk had no room: that says nothing of an archive.
fn is_full(error: &SnapshotError) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Bytes that cannot be read are the disk's or the user's fault, bytes that mean nothing are the archive's.
fn unreadable(error: io::Error, layer: &str) -> ImportError {
    match error.raw_os_error().is_some() || ibuild_cache::is_stop(&error) {
        true => ImportError::Read(error),
        false => ImportError::Layer(layer.to_owned()),
    }
}

fn bytes_below(dir: &Path) -> io::Result<u64> {
    let (mut open, mut bytes) = (vec![dir.to_owned()], 0_u64);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            match meta.is_dir() {
                true => open.push(entry.path()),
                false => bytes = bytes.saturating_add(meta.len()),
            }
        }
    }
    Ok(bytes)
}

/// A composed file as the store knows it.
pub(super) fn composed(file: &ExportedBlob, composition: &ExportedBlob, packs: &[ExportedBlob]) -> Composed {
    let stored = |it: &ExportedBlob| StoredBlob { blob: it.blob, size: it.size };
    Composed {
        file: Artifact { blob: file.blob, size: file.size },
        composition: stored(composition),
        packs: packs.iter().map(stored).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::Sha256;

    use super::*;

    #[test]
    fn more_bytes_than_were_said_are_refused() {
        let mut counted = Counted { hasher: <LayerId as Digest>::Hasher::default(), left: 3 };
        assert!(counted.write_all(b"abc").is_ok() && counted.write_all(b"d").is_err());
    }

    #[test]
    fn what_is_received_is_named_by_its_bytes() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let stored = receive(&store.packages(), &mut &b"abc"[..], &Cancel::default()).unwrap();
        assert_eq!((stored.digest, stored.size), (Sha256::of(b"abc"), 3));
    }
}
