//! The layers of a root file system as an OCI image has them: their tarballs, out of the store.

use std::fs::File;
use std::io::{self, Read};

use ibuild_cache::{Cancel, Digest, LayerId, Stoppable, Store};

use crate::StageError;
use crate::disk::LayerSource;
use crate::snapshot::{Layer, LayerStore, Snapshot, SnapshotError};

/// A layer whose tarball is in the store.
pub struct StoredLayer<'s> {
    store: &'s Store,
    layer: Layer,
    cancel: &'s Cancel,
}

impl<'s> StoredLayer<'s> {
    /// The layers of a snapshot, lowest first.
    pub fn all(store: &'s Store, snapshot: &Snapshot, cancel: &'s Cancel) -> Result<Vec<Self>, StageError> {
        let layers = LayerStore::new(store);
        let stored = |id: &LayerId| {
            let layer = layers.find(id)?.ok_or(SnapshotError::MissingLayer(*id))?;
            Ok(Self { store, layer, cancel })
        };
        snapshot.layers.iter().map(stored).collect()
    }
}

impl LayerSource for StoredLayer<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let blob = self.store.blobs().open(&self.layer.blob).map_err(io::Error::other)?;
        let blob = blob.ok_or_else(|| io::Error::other(SnapshotError::MissingLayer(self.layer.id)))?;
        let hasher = <LayerId as Digest>::Hasher::default();
        let inner = Stoppable::new(zstd::Decoder::new(blob)?, self.cancel.clone());
        Ok(Box::new(Checked { inner, hasher, id: self.layer.id }))
    }

    fn size(&self) -> u64 {
        self.layer.raw_size
    }
}

/// A tarball that is found at its end to be the layer's, or not.
struct Checked {
    inner: Stoppable<zstd::Decoder<'static, io::BufReader<File>>>,
    hasher: <LayerId as Digest>::Hasher,
    id: LayerId,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        LayerId::update(&mut self.hasher, &buffer[..length]);
        let is_end = length == 0 && !buffer.is_empty();
        if is_end && LayerId::finish(std::mem::take(&mut self.hasher)) != self.id {
            return Err(io::Error::other(SnapshotError::MissingLayer(self.id)));
        }
        Ok(length)
    }
}
