//! A finished VMDK that is part of an earlier file, to be copied as it is.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::digest::Digests;
use crate::disk::error::DiskError;
use crate::disk::grains::{GrainKey, Kept, WrittenDisk};

/// Bytes that are copied at once.
const PORTION: usize = 4 << 20;

/// Where a VMDK is in a file, and what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVmdk {
    /// The first of its bytes.
    pub offset: u64,
    /// Their number.
    pub size: u64,
    /// Their digest, which is looked at whenever they are copied.
    pub blake3: [u8; 32],
    /// Their digest for manifests.
    pub sha256: [u8; 32],
}

/// A VMDK in an open file.
#[derive(Debug)]
pub struct FoundVmdk {
    file: Arc<File>,
    kept: KeptVmdk,
    /// Its grains, counted from its own beginning.
    grains: Vec<(GrainKey, Kept)>,
}

impl FoundVmdk {
    /// The VMDK that is there in `file`, of whose grains some are in the VMDK.
    pub fn new(file: Arc<File>, kept: KeptVmdk, grains: impl IntoIterator<Item = (GrainKey, Kept)>) -> Self {
        let range = kept.offset..kept.offset + kept.size;
        let inside = grains.into_iter().filter(|(_, grain)| range.contains(&grain.offset));
        let grains = inside.map(|(key, grain)| (key, Kept { offset: grain.offset - kept.offset, ..grain }));
        Self { file, kept, grains: grains.collect() }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.kept.size
    }

    /// Copies it. The digests are those that were found when it was written, and hold only if this succeeds.
    pub fn copy(&self, mut out: impl Write) -> Result<WrittenDisk, DiskError> {
        let mut buffer = vec![0; PORTION];
        let mut hasher = blake3::Hasher::new();
        let write = |source| DiskError::Write { what: "a VMDK that was made before".into(), source };
        for start in (0..self.kept.size).step_by(PORTION) {
            let portion = &mut buffer[..(self.kept.size - start).min(PORTION as u64) as usize];
            self.file.read_exact_at(portion, self.kept.offset + start).map_err(|_| DiskError::DamagedVmdk)?;
            hasher.update_rayon(portion);
            out.write_all(portion).map_err(write)?;
        }
        out.flush().map_err(write)?;
        if *hasher.finalize().as_bytes() != self.kept.blake3 {
            return Err(DiskError::DamagedVmdk);
        }
        let KeptVmdk { size, blake3, sha256, .. } = self.kept;
        Ok(WrittenDisk { digests: Digests { size, blake3, sha256 }, grains: self.grains.clone() })
    }
}
