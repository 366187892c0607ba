//! A finished VMDK that is part of an earlier file, to be taken over as it is.

use ibuild_cache::Sha256;
use serde::{Deserialize, Serialize};

use crate::rope::Rope;

/// Where a VMDK is in a file, and what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVmdk {
    /// The first of its bytes.
    pub offset: u64,
    /// Their number.
    pub size: u64,
    /// Their digest for manifests, if there was one that told it.
    pub sha256: Option<Sha256>,
}

/// A VMDK whose parts are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVmdk {
    /// Its parts.
    pub rope: Rope,
    /// The SHA-256 of its bytes, if it is known.
    pub sha256: Option<Sha256>,
}

impl FoundVmdk {
    /// The VMDK that is there in `file`.
    pub fn within(file: &Rope, kept: &KeptVmdk) -> Self {
        Self { rope: file.cut(kept.offset..kept.offset + kept.size), sha256: kept.sha256 }
    }
}
