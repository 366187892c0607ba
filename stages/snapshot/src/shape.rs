//! What an overlay tells of layers besides the files of a tree: in which order it lists the names of a directory, and how many
//! links a directory has. Both follow from which names each layer has and which of them are directories, and from nothing that
//! is in files. So the key of a program has this, and a stage that undoes what the one before it wrote leaves later ones fresh.
//!
//! Programs are keyed by the tree and the shape. Copies cannot observe the shape, so they are keyed by the tree alone.

use ibuild_cache::LayerId;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::tree::Kind;

/// The shape of one layer: equal for layers that an overlay shows in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape([u8; 32]);

/// The shape of a chain of layers, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainShape([u8; 32]);

/// A layer that a stage made, with its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLayer {
    /// Its name.
    pub id: LayerId,
    /// How an overlay shows it.
    pub shape: Shape,
}

impl Shape {
    /// The shape of a layer of these changes, which are in the order of the tarball.
    pub fn of(changes: &[(Vec<u8>, Change)]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (path, change) in changes {
            let kind = match change {
                Change::Removed => 0,
                Change::Set(entry) if matches!(entry.kind, Kind::Directory(_)) => 1,
                Change::Set(_) => 2,
            };
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path).update(&[kind]);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// A layer of which nothing else is known: its shape is that of no other.
impl From<LayerId> for OwnLayer {
    fn from(id: LayerId) -> Self {
        Self { id, shape: Shape(*id.as_bytes()) }
    }
}

impl ChainShape {
    /// That of no layers.
    pub const EMPTY: Self = Self([0; 32]);

    /// That of a chain upon which there is one layer more. If it was in the chain before, it was so at `moved`.
    pub fn with(self, Shape(shape): Shape, moved: Option<usize>) -> Self {
        let moved = moved.map_or(u64::MAX, |place| place as u64).to_le_bytes();
        Self(*blake3::Hasher::new().update(&self.0).update(&shape).update(&moved).finalize().as_bytes())
    }

    /// For keys.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
