//! Snapshots: a tree, and the chain of layers that makes it.
//!
//! A cached stage is rebased: its own layer is put on the layers that its parent has in this build, which need not be
//! those that it ran over. So an incremental build has the layers of a build from nothing. A layer that occurs again in
//! a chain counts only where it is uppermost, because an overlay cannot contain a directory twice.

use ibuild_cache::{LayerId, TreeId};
use serde::{Deserialize, Serialize};

use super::shape::{ChainShape, OwnLayer, Shape};

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
    /// How an overlay shows the layers.
    pub shape: ChainShape,
    /// The shape of the topmost layer.
    top: Option<Shape>,
}

impl Snapshot {
    /// One of whose layers no more is known than their names.
    pub fn of(tree: TreeId, layers: Vec<LayerId>) -> Self {
        let mut shapes = layers.iter().map(|layer| OwnLayer::from(*layer).shape);
        let shape = shapes.clone().fold(ChainShape::EMPTY, |chain, shape| chain.with(shape, None));
        let top = shapes.next_back();
        Self { tree, layers, shape, top }
    }

    /// What a stage made upon `parent`: a tree, by a layer of its own unless it changed nothing.
    pub fn upon(parent: Option<&Self>, tree: TreeId, own: Option<OwnLayer>) -> Self {
        let below = parent.map_or(&[][..], |parent| &parent.layers);
        let shape = parent.map_or(ChainShape::EMPTY, |parent| parent.shape);
        let Some(OwnLayer { id, shape: top }) = own else {
            return Self { tree, layers: below.to_vec(), shape, top: parent.and_then(|parent| parent.top) };
        };
        let moved = below.iter().position(|layer| *layer == id);
        let layers = below.iter().copied().filter(|layer| *layer != id).chain([id]).collect();
        Self { tree, layers, shape: shape.with(top, moved), top: Some(top) }
    }

    /// What the same stage makes upon a parent that has the same tree as the one that it ran upon, by other layers.
    pub fn moved_to(&self, parent: &Self) -> Self {
        let shape = |id| self.top.map_or(OwnLayer::from(id).shape, |shape| shape);
        let own = self.own_layer(parent.tree).map(|id| OwnLayer { id, shape: shape(id) });
        Self::upon(Some(parent), self.tree, own)
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
        Snapshot::of(TreeId::from_bytes([tree; 32]), layers.iter().copied().map(layer).collect())
    }

    fn own(number: u8) -> Option<OwnLayer> {
        Some(layer(number).into())
    }

    #[test]
    fn a_layer_that_comes_again_is_there_once() {
        let below = snapshot(1, &[1, 2, 3]);
        let tree = TreeId::from_bytes([2; 32]);
        assert_eq!(Snapshot::upon(Some(&below), tree, own(4)), snapshot(2, &[1, 2, 3, 4]));
        let again = Snapshot::upon(Some(&below), tree, own(1));
        assert_eq!(again.layers, snapshot(2, &[2, 3, 1]).layers);
        assert_ne!(again.shape, Snapshot::upon(Some(&below), tree, own(2)).shape);
        assert_eq!(Snapshot::upon(None, tree, own(4)), snapshot(2, &[4]));
    }

    #[test]
    fn what_a_stage_did_is_done_upon_other_layers() {
        let (made, parent) = (snapshot(2, &[1, 2, 3]), snapshot(1, &[4, 5]));
        assert_eq!(made.moved_to(&parent), snapshot(2, &[4, 5, 3]));
        let nothing = snapshot(1, &[1, 2]);
        assert_eq!(nothing.moved_to(&parent), parent);
    }

    /// What is in files has no part in how directories are listed; names have.
    #[test]
    fn the_shape_of_a_chain_follows_from_names() {
        use crate::change::Change;
        use crate::{Entry, Kind, Metadata};
        let set = |name: &str, kind| {
            (name.as_bytes().to_vec(), Change::Set(Entry { meta: Metadata::default(), kind }))
        };
        let link = |target: &str| Kind::Symlink(target.into());
        let shape = |changes: &[_]| Shape::of(changes);
        let one = shape(&[set("a", link("x"))]);
        assert_eq!(one, shape(&[set("a", link("y"))]));
        let others = [
            shape(&[set("b", link("x"))]),
            shape(&[set("a", Kind::Directory(crate::Listing::default().packed().id()))]),
            shape(&[(b"a".to_vec(), Change::Removed)]),
            shape(&[set("a", link("x")), set("b", link("x"))]),
        ];
        assert!(others.iter().all(|other| *other != one));
        let chain = |shapes: &[Shape]| shapes.iter().fold(ChainShape::EMPTY, |all, one| all.with(*one, None));
        assert_ne!(chain(&[one, others[0]]), chain(&[others[0], one]));
        assert_ne!(chain(&[one]), chain(&[one, one]));
    }
}
