//! Snapshots: a tree, and the chain of layers that makes it.

use ibuild_cache::{LayerId, TreeId};
use serde::{Deserialize, Serialize};

/// The whole file system that a stage ends with.
///
/// No layer is in a chain twice: an overlay refuses that, and what the upper one of two equal layers says is all that the
/// lower one says, so the chain does without the lower one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What it looks like.
    pub tree: TreeId,
    /// How it is made, lowest first. Stages that changed nothing have no layer.
    pub layers: Vec<LayerId>,
}

impl Snapshot {
    /// What a stage made upon `parent`: a tree, by a layer of its own unless it changed nothing.
    pub fn upon(parent: Option<&Self>, tree: TreeId, own: Option<LayerId>) -> Self {
        let below = parent.map_or(&[][..], |parent| &parent.layers);
        let layers = below.iter().copied().filter(|layer| Some(*layer) != own).chain(own).collect();
        Self { tree, layers }
    }

    /// What the same stage makes upon a parent that has the same tree as the one that it ran upon, by other layers.
    pub fn moved_to(&self, parent: &Self) -> Self {
        Self::upon(Some(parent), self.tree, self.own_layer(parent.tree))
    }

    /// The layer that a stage added to what it stood upon, if that was `parent`: the topmost, unless it changed nothing.
    pub fn own_layer(&self, parent: TreeId) -> Option<LayerId> {
        self.layers.last().copied().filter(|_| self.tree != parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u8) -> LayerId {
        LayerId::from_bytes([number; 32])
    }

    fn snapshot(tree: u8, layers: &[u8]) -> Snapshot {
        Snapshot { tree: TreeId::from_bytes([tree; 32]), layers: layers.iter().copied().map(layer).collect() }
    }

    #[test]
    fn a_layer_that_comes_again_is_there_once() {
        let below = snapshot(1, &[1, 2, 3]);
        let tree = TreeId::from_bytes([2; 32]);
        assert_eq!(Snapshot::upon(Some(&below), tree, Some(layer(4))), snapshot(2, &[1, 2, 3, 4]));
        assert_eq!(Snapshot::upon(Some(&below), tree, Some(layer(1))), snapshot(2, &[2, 3, 1]));
        assert_eq!(Snapshot::upon(None, tree, Some(layer(4))), snapshot(2, &[4]));
    }

    #[test]
    fn what_a_stage_did_is_done_upon_other_layers() {
        let (made, parent) = (snapshot(2, &[1, 2, 3]), snapshot(1, &[4, 5]));
        assert_eq!(made.moved_to(&parent), snapshot(2, &[4, 5, 3]));
        let nothing = snapshot(1, &[1, 2]);
        assert_eq!(nothing.moved_to(&parent), parent);
    }
}
