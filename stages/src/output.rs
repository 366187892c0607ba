//! What stages make.

use ibuild_cache::{BlobId, CacheError, LayerId, Record, Store, TreeId};
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
    const SCHEMA: u16 = 3;

    fn from_earlier(bytes: &[u8]) -> Option<Self> {
        Some(match SecondSchema::from_bytes(bytes)? {
            SecondSchema::Snapshot(Chain { tree, layers }) => Self::Snapshot(Snapshot::of(tree, layers)),
            SecondSchema::Artifact(artifact) => Self::Artifact(artifact),
            SecondSchema::Composed(composed) => Self::Composed(composed),
        })
    }
}

/// What the second schema said: of layers nothing but their names.
#[derive(Serialize, Deserialize)]
enum SecondSchema {
    Snapshot(Chain),
    Artifact(Artifact),
    Composed(Composed),
}

/// A snapshot as it was told then.
#[derive(Serialize, Deserialize)]
struct Chain {
    tree: TreeId,
    layers: Vec<LayerId>,
}

impl Record for SecondSchema {
    const SCHEMA: u16 = 2;
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

    /// The digest of what it is, in hexadecimal: of the tree, or of the bytes of the file.
    pub fn digest(&self) -> String {
        match self {
            Self::Snapshot(snapshot) => snapshot.tree.hex(),
            Self::Artifact(artifact) | Self::Composed(Composed { file: artifact, .. }) => artifact.blob.hex(),
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
    use super::*;

    /// The images of a store outlive the change, and what is known of its stages.
    #[test]
    fn what_the_second_schema_said_is_understood() {
        let (tree, layers) = (TreeId::from_bytes([1; 32]), vec![LayerId::from_bytes([2; 32])]);
        let second = SecondSchema::Snapshot(Chain { tree, layers: layers.clone() }).to_bytes();
        let expected = StageOutput::Snapshot(Snapshot::of(tree, layers));
        assert_eq!(StageOutput::from_bytes(&second), Some(expected.clone()));
        assert_eq!(StageOutput::from_bytes(&expected.to_bytes()), Some(expected));
        let artifact = Artifact { blob: BlobId::from_bytes([4; 32]), size: 5 };
        let second = SecondSchema::Artifact(artifact.clone()).to_bytes();
        assert_eq!(StageOutput::from_bytes(&second), Some(StageOutput::Artifact(artifact)));
    }
}
