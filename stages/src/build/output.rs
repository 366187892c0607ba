//! What stages make.

use ibuild_cache::{BlobId, CacheError, Record, Store};
use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;

/// What a stage makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageOutput {
    /// A root file system.
    Snapshot(Snapshot),
    /// A file for people, in the content store.
    Artifact(Artifact),
    /// A file for people, of which the content store has the parts.
    Composed(Composed),
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The digest of its bytes.
    pub blob: BlobId,
    /// Their number.
    pub size: u64,
}

/// A finished file that is made of parts whenever it is wanted. Files that differ little share most of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composed {
    /// What it is.
    pub file: Artifact,
    /// Which parts it is made of.
    pub composition: StoredBlob,
    /// What they are parts of.
    pub packs: Vec<StoredBlob>,
}

/// A blob that has to be in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlob {
    /// Its name.
    pub blob: BlobId,
    /// Its bytes.
    pub size: u64,
}

/// Kinds of outputs are only added at the end, so those that are stored stay readable.
impl Record for StageOutput {
    const SCHEMA: u16 = 2;

    fn from_earlier(bytes: &[u8]) -> Option<Self> {
        let FirstSchema::Snapshot(snapshot) = FirstSchema::from_bytes(bytes)?;
        Some(Self::Snapshot(snapshot))
    }
}

/// What the first schema said in the same way. Of files it told a SHA-256 as well: they are made anew.
#[derive(Serialize, Deserialize)]
enum FirstSchema {
    Snapshot(Snapshot),
}

impl Record for FirstSchema {
    const SCHEMA: u16 = 1;
}

impl StageOutput {
    /// The root file system, if it is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Snapshot(snapshot) => Some(snapshot),
            Self::Artifact(_) | Self::Composed(_) => None,
        }
    }

    /// The file, if it is one.
    pub fn artifact(&self) -> Option<&Artifact> {
        match self {
            Self::Artifact(artifact) | Self::Composed(Composed { file: artifact, .. }) => Some(artifact),
            Self::Snapshot(_) => None,
        }
    }

    /// The blobs that a file cannot do without. Those of a root file system are its layers' own.
    pub fn blobs(&self) -> Vec<StoredBlob> {
        match self {
            Self::Snapshot(_) => Vec::new(),
            Self::Artifact(file) => vec![StoredBlob { blob: file.blob, size: file.size }],
            Self::Composed(made) => [&[made.composition], &made.packs[..]].concat(),
        }
    }

    /// Whether all of [`blobs`](Self::blobs) are in the store.
    pub fn has_blobs(&self, store: &Store) -> Result<bool, CacheError> {
        for needed in self.blobs() {
            if store.blobs().size(&needed.blob)? != Some(needed.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{LayerId, TreeId};

    use super::*;

    /// The stages of a store outlive the change; its images have to be packed once more.
    #[test]
    fn of_the_first_schema_root_file_systems_are_read_and_files_are_not() {
        let snapshot = Snapshot {
            tree: TreeId::from_bytes([1; 32]),
            layers: vec![LayerId::from_bytes([2; 32]), LayerId::from_bytes([3; 32])],
        };
        let first = FirstSchema::Snapshot(snapshot.clone()).to_bytes();
        assert_eq!(StageOutput::from_bytes(&first), Some(StageOutput::Snapshot(snapshot)));
        let file = StageOutput::Artifact(Artifact { blob: BlobId::from_bytes([4; 32]), size: 5 });
        let mut bytes = file.to_bytes();
        assert_eq!(StageOutput::from_bytes(&bytes), Some(file));
        bytes[1] = 1;
        assert_eq!(StageOutput::from_bytes(&bytes), None);
    }
}
