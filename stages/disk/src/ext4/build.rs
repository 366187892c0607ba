//! The whole way from layers to a map of the partition.

use super::FilesystemOptions;
use super::base::{Base, RESERVED_INODES, write_groups};
use super::geometry::{Geometry, NoGeometry};
use super::hash::NameHash;
use super::place::{Placer, Room};
use super::space::{Full, Space};
use super::superblock::FIRST_INODE;
use super::tree::Tree;
use super::usage::Usage;
use super::write::Writer;
use crate::error::DiskError;
use crate::map::DiskMap;
use ibuild_snapshot::Entry;
use ibuild_snapshot::files::{LayerChange, Listed};

/// Inodes of a group: as many as files of 16 KiB fit into it, and more where that is too few. The tables of so many as are
/// tried third have a place in small file systems only.
const INODES_PER_GROUP: [u32; 4] = [8192, 16_384, 32_768, 28_672];

/// Describes the file system that holds what these layers make, which is said to be `tree`.
///
/// The same layers and options give the same map, whatever is on this machine. Layers with the same beginning give maps in
/// which what that beginning brought has the same places. Only where the disk is too small for the holes that layers leave
/// in each other, everything is placed as if it came in one layer.
pub fn filesystem(
    layers: Vec<Listed<LayerChange>>,
    tree: Listed<Entry>,
    options: &FilesystemOptions,
) -> Result<DiskMap, DiskError> {
    let mut missing = Full::Blocks;
    for plan in [Plan::ByLayer, Plan::AtOnce] {
        for inodes in INODES_PER_GROUP {
            let geometry = match Geometry::new(options.size, inodes) {
                Ok(geometry) => geometry,
                Err(NoGeometry::Inodes(..)) if missing == Full::Inodes => continue,
                Err(unfit) => {
                    return Err(DiskError::Spec { image: options.image.clone(), reason: unfit.to_string() });
                }
            };
            match plan.place(&layers, options, &geometry) {
                Ok(placed) => {
                    // Each list takes as much memory as what is made of it.
                    drop(layers);
                    return placed.write(tree, options, &geometry);
                }
                Err(Failed::Disk(error)) => return Err(error),
                Err(Failed::Full(full)) => missing = full,
            }
            if missing == Full::Blocks {
                break;
            }
        }
    }
    let what = if missing == Full::Blocks { "blocks" } else { "inodes" };
    Err(DiskError::Full { image: options.image.clone(), what })
}

/// How layers become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// One after the other.
    ByLayer,
    /// All together, and only what is there in the end.
    AtOnce,
}

enum Failed {
    Full(Full),
    Disk(DiskError),
}

impl From<Full> for Failed {
    fn from(full: Full) -> Self {
        Failed::Full(full)
    }
}

impl From<DiskError> for Failed {
    fn from(error: DiskError) -> Self {
        Failed::Disk(error)
    }
}

impl Plan {
    fn place(
        self,
        layers: &[Listed<LayerChange>],
        options: &FilesystemOptions,
        geometry: &Geometry,
    ) -> Result<Placed, Failed> {
        let mut space = Space::of(geometry);
        let base = Base::place(geometry, &mut space)?;
        let hash = NameHash::new(options.hash_seed);
        let room = if self == Plan::ByLayer { Room::Ample } else { Room::Tight };
        let mut placer = Placer::new(geometry, space, FIRST_INODE, room, hash);
        let mut tree = Tree::new();
        let fresh = tree.add_lost_and_found(options.epoch)?;
        if self == Plan::ByLayer {
            placer.place(&mut tree, &fresh)?;
        }
        for layer in layers {
            let fresh = tree.add(layer)?;
            if self == Plan::ByLayer {
                placer.place(&mut tree, &fresh)?;
            }
        }
        if self == Plan::AtOnce {
            let everything = tree.everything();
            placer.place(&mut tree, &everything)?;
        }
        Ok(Placed { tree, base })
    }
}

/// A tree whose files have places.
struct Placed {
    tree: Tree,
    base: Base,
}

impl Placed {
    fn write(
        mut self,
        tree: Listed<Entry>,
        options: &FilesystemOptions,
        geometry: &Geometry,
    ) -> Result<DiskMap, DiskError> {
        self.tree.match_with(&tree)?;
        drop(tree);
        let usage = Usage::new(geometry, RESERVED_INODES);
        let empty = usage.clone();
        let mut writer = Writer::new(options, geometry, usage);
        let journal = self.base.write(options, geometry, &mut writer);
        writer.tree(&self.tree)?;
        write_groups(options, geometry, &empty, &journal, &mut writer);
        Ok(writer.finish())
    }
}
