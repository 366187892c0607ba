//! What stages make.

use ibuild_cache::{BlobId, Record, Sha256};
use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;

/// What a stage makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageOutput {
    /// A root file system.
    Snapshot(Snapshot),
    /// A file for people.
    Artifact(Artifact),
}

/// A finished file, in the content store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its bytes.
    pub blob: BlobId,
    /// Their digest as check sum files speak it.
    pub sha256: Sha256,
    /// Their number.
    pub size: u64,
}

impl Record for StageOutput {
    const SCHEMA: u16 = 1;
}

impl StageOutput {
    /// The root file system, if it is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Snapshot(snapshot) => Some(snapshot),
            Self::Artifact(_) => None,
        }
    }

    /// The file, if it is one.
    pub fn artifact(&self) -> Option<&Artifact> {
        match self {
            Self::Artifact(artifact) => Some(artifact),
            Self::Snapshot(_) => None,
        }
    }
}
