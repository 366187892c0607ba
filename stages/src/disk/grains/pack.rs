//! An earlier file in which compressed grains can be found again.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ibuild_cache::{ActionKey, BlobId, Record};
use serde::{Deserialize, Serialize};

use super::plan::GrainKey;
use crate::disk::vmdk::KeptVmdk;

/// Where a compressed grain is in a file, and what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The first of its bytes.
    pub offset: u64,
    /// Their number.
    pub length: u32,
    /// Their digest.
    pub digest: [u8; 32],
}

/// The grains of a finished file, as the index keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// The file.
    pub blob: BlobId,
    /// Its grains.
    pub grains: Vec<(GrainKey, Kept)>,
    /// The VMDKs in it, by the keys of what makes them.
    pub disks: Vec<(ActionKey, KeptVmdk)>,
}

impl Record for PackRecord {
    const SCHEMA: u16 = 2;
}

/// An open file with grains.
#[derive(Debug)]
pub struct Pack {
    file: Arc<File>,
    grains: HashMap<GrainKey, Kept>,
}

impl Pack {
    /// The grains of this file.
    pub fn new(file: Arc<File>, grains: impl IntoIterator<Item = (GrainKey, Kept)>) -> Self {
        Self { file, grains: grains.into_iter().collect() }
    }

    /// Where a grain is, if it is here.
    pub fn find(&self, key: &GrainKey) -> Option<Kept> {
        self.grains.get(key).copied()
    }

    /// The compressed grain; `None` if what is there now is something else.
    pub fn read(&self, kept: &Kept) -> Option<Vec<u8>> {
        read(&self.file, kept)
    }
}

/// Reads a grain from a file, and makes sure that it is the one.
pub fn read(file: &File, kept: &Kept) -> Option<Vec<u8>> {
    let mut bytes = vec![0; kept.length as usize];
    file.read_exact_at(&mut bytes, kept.offset).ok()?;
    (*blake3::hash(&bytes).as_bytes() == kept.digest).then_some(bytes)
}
