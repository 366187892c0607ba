//! Tarballs of layers that are not what they are called by any more.

use std::io;

use ibuild_cache::{LayerId, Stoppable, is_stop};

use super::layers::HashingReader;
use super::{Layer, LayerStore, SnapshotError};

impl LayerStore<'_> {
    /// Reads the tarballs of layers and removes those that are damaged, so that their layers are made again. The first of them.
    pub fn discard_damaged(&self, layers: &[LayerId]) -> Result<Option<LayerId>, SnapshotError> {
        let mut damaged = None;
        for layer in layers {
            let Some(found) = self.find(layer)? else { continue };
            if !self.is_whole(&found)? {
                self.store().blobs().remove(&found.blob)?;
                damaged.get_or_insert(*layer);
            }
        }
        Ok(damaged)
    }

    /// Whether a tarball is what its layer is called by. A disk that does not give the bytes says nothing about them.
    fn is_whole(&self, layer: &Layer) -> Result<bool, SnapshotError> {
        let Some(blob) = self.store().blobs().open(&layer.blob)? else { return Ok(false) };
        let place = self.unpacked_path(&layer.id);
        let failed = || SnapshotError::io("read", &place);
        let inner = Stoppable::new(zstd::Decoder::new(blob).map_err(failed())?, self.cancel().clone());
        let mut reader = HashingReader::new(inner);
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(_) => Ok(reader.finish() == layer.id),
            Err(e) if e.raw_os_error().is_some() || is_stop(&e) => Err(failed()(e)),
            Err(_) => Ok(false),
        }
    }
}
