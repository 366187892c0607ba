//! What packing comes to: a file, and what is known of it.

use std::fs::File;
use std::path::Path;

use ibuild_cache::{BlobId, EagerFile};

use super::compose::Made;
use super::digest::Digested;
use super::error::DiskError;
use super::grains::FinishedPack;
use super::vmdk::KeptVmdk;

/// A file that has been packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedArtifact {
    /// Its size and digest.
    pub file: Digested<BlobId>,
    /// What it is made of, if that is grains.
    pub made: Option<Made>,
    /// How many of them had to be compressed, because no pack had them.
    pub compressed: u64,
    /// The VMDKs in it, one for each machine.
    pub disks: Vec<KeptVmdk>,
    /// The pack with those of its grains that no other pack had.
    pub new_pack: Option<FinishedPack>,
}

impl From<Digested<BlobId>> for PackedArtifact {
    fn from(file: Digested<BlobId>) -> Self {
        Self { file, made: None, compressed: 0, disks: Vec::new(), new_pack: None }
    }
}

/// A new file that goes to the disk while it is written.
pub(super) fn create(out: &Path) -> Result<EagerFile, DiskError> {
    Ok(EagerFile::new(File::create(out).map_err(DiskError::io("create", out))?))
}
