//! The layers of a root file system as an OCI image has them: their tarballs, out of the store.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use ibuild_cache::{Cancel, Digest, LayerId, Stoppable, Store};

use crate::StageError;
use crate::disk::LayerSource;
use crate::snapshot::{Layer, LayerStore, Snapshot, SnapshotError};

/// How long a layer's tarball may take that this build writes beside the image.
const PATIENCE: Duration = Duration::from_secs(300);
const GLANCE: Duration = Duration::from_millis(50);

/// A layer whose tarball is in the store.
pub struct StoredLayer<'s> {
    store: &'s Store,
    layer: Layer,
    cancel: &'s Cancel,
}

impl<'s> StoredLayer<'s> {
    /// The layers of a snapshot, lowest first.
    pub fn all(store: &'s Store, snapshot: &Snapshot, cancel: &'s Cancel) -> Result<Vec<Self>, StageError> {
        let found =
            snapshot.layers.iter().map(|id| Ok(Self { store, layer: find(store, id, cancel)?, cancel }));
        found.collect()
    }
}

/// The stages before the image have made their layers, but a tarball is written beside what comes next.
fn find(store: &Store, id: &LayerId, cancel: &Cancel) -> Result<Layer, StageError> {
    let (layers, begun) = (LayerStore::new(store), Instant::now());
    loop {
        if let Some(layer) = layers.find(id)? {
            return Ok(layer);
        }
        cancel.check().map_err(SnapshotError::io("read", &layers.unpacked_path(id)))?;
        if !layers.is_unpacked(id) || begun.elapsed() > PATIENCE {
            return Err(SnapshotError::MissingLayer(*id).into());
        }
        std::thread::sleep(GLANCE);
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
