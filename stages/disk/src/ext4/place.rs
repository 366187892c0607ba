//! Gives inodes and blocks to what a layer brings.
//!
//! A layer's things get places of their own behind those of the layers before it, in this order: directories and
//! attributes, small files in packs, large files, trees of extents; then room. Nothing that was placed moves because of
//! what comes after it, and what later layers replace or remove leaves holes.

use super::bytes::BLOCK;
use super::dirs;
use super::extents::{self, Extent};
use super::geometry::{GRAIN_BLOCKS, GRAIN_INODES, Geometry};
use super::hash::NameHash;
use super::space::{Full, Space, Supply};
use super::tree::{Body, Fresh, NodeId, ROOT, Tree};

/// A pack of small files ends after a file whose mark has these bits clear, so that a file that grows moves those of its
/// pack and no others.
const PACK_END: u32 = 31;
/// A pack has at most so many blocks.
const MOST_PACKED: u64 = 16 * GRAIN_BLOCKS;
/// Files of fewer blocks are packed. A larger one starts on a grain.
const SMALL: u64 = GRAIN_BLOCKS;
/// The root directory's.
const ROOT_INODE: u32 = 2;

/// Whether places leave room for what a layer may bring when it is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// An eighth, and never too little.
    Ample,
    /// None: the disk is too small for it.
    Tight,
}

/// Where the next things go.
#[derive(Debug)]
pub struct Placer {
    /// The blocks that are left.
    pub space: Space,
    next_inode: u32,
    last_inode: u32,
    room: Room,
    hash: NameHash,
}

impl Placer {
    /// Starts with `space`, and with `next_inode`.
    pub fn new(geometry: &Geometry, space: Space, next_inode: u32, room: Room, hash: NameHash) -> Self {
        Self { space, next_inode, last_inode: geometry.inodes(), room, hash }
    }

    /// Places what is new.
    pub fn place(&mut self, tree: &mut Tree, fresh: &Fresh) -> Result<(), Full> {
        self.number(tree, fresh)?;
        let files = |tree: &Tree, large: bool| -> Vec<(NodeId, u64)> {
            let with_blocks = fresh.nodes.iter().map(|node| (*node, data_blocks(tree, *node)));
            with_blocks.filter(|(_, blocks)| *blocks > 0 && (*blocks >= SMALL) == large).collect()
        };
        let small = files(tree, false);
        let large = files(tree, true);
        let used = [
            self.structures(tree, fresh)?,
            self.packs(tree, &small)?,
            self.large(tree, &large)?,
            self.indices(tree, fresh)?,
        ];
        if self.room == Room::Ample {
            let used: u64 = used.iter().sum();
            self.space.skip(room(used, GRAIN_BLOCKS * 4) - used);
        }
        Ok(())
    }

    /// Inodes of a layer start on a grain of the table.
    fn number(&mut self, tree: &mut Tree, fresh: &Fresh) -> Result<(), Full> {
        let first = self.next_inode;
        for node in &fresh.nodes {
            if *node == ROOT {
                continue;
            }
            tree.nodes[*node].inode = self.next_inode;
            self.next_inode += 1;
        }
        tree.nodes[ROOT].inode = ROOT_INODE;
        if self.next_inode > self.last_inode + 1 {
            return Err(Full::Inodes);
        }
        if self.room == Room::Ample {
            let used = u64::from(self.next_inode - first);
            let end = u64::from(first - 1) + used + used / 8;
            self.next_inode = end.next_multiple_of(step(used, GRAIN_INODES.into())) as u32 + 1;
        }
        Ok(())
    }

    /// Blocks of directories that grew, of attributes and of long links.
    fn structures(&mut self, tree: &mut Tree, fresh: &Fresh) -> Result<u64, Full> {
        let growth: Vec<(NodeId, u64)> =
            fresh.directories.iter().map(|node| (*node, self.growth(tree, *node))).collect();
        let attrs: Vec<NodeId> = fresh.directories.iter().chain(&fresh.nodes).copied().collect();
        let needs_block = |node: &NodeId| {
            let node = &tree.nodes[*node];
            node.attrs.need_block() && node.attr_block.is_none()
        };
        let mut attrs: Vec<NodeId> = attrs.into_iter().filter(needs_block).collect();
        attrs.sort_unstable();
        attrs.dedup();
        let links: Vec<NodeId> =
            fresh.nodes.iter().copied().filter(|node| tree.nodes[*node].long_link().is_some()).collect();
        let total = growth.iter().map(|(_, blocks)| blocks).sum::<u64>() + (attrs.len() + links.len()) as u64;
        let mut supply = self.space.take(total)?;
        for (node, blocks) in growth {
            extend(tree, node, blocks, &mut supply);
        }
        for node in attrs {
            tree.nodes[node].attr_block = Some(supply.one());
        }
        for node in links {
            extend(tree, node, 1, &mut supply);
        }
        Ok(total.next_multiple_of(GRAIN_BLOCKS))
    }

    /// The blocks that a directory needs beyond those that it may use already.
    fn growth(&self, tree: &Tree, node: NodeId) -> u64 {
        let Body::Directory { children, .. } = &tree.nodes[node].body else { return 0 };
        let names: Vec<&[u8]> = children.keys().map(Vec::as_slice).collect();
        let needed = dirs::blocks_needed(&names, self.hash) as u64;
        needed.saturating_sub(blocks_of(&tree.nodes[node].extents))
    }

    fn packs(&mut self, tree: &mut Tree, files: &[(NodeId, u64)]) -> Result<u64, Full> {
        let (mut start, mut blocks, mut used) = (0, 0, 0);
        for (at, (node, own)) in files.iter().enumerate() {
            blocks += own;
            let ends =
                tree.nodes[*node].mark & PACK_END == 0 || blocks >= MOST_PACKED || at + 1 == files.len();
            if ends {
                let mut supply = self.space.take(blocks)?;
                files[start..=at].iter().for_each(|(node, _)| fill(tree, *node, &mut supply));
                used += blocks.next_multiple_of(GRAIN_BLOCKS);
                (start, blocks) = (at + 1, 0);
            }
        }
        Ok(used)
    }

    fn large(&mut self, tree: &mut Tree, files: &[(NodeId, u64)]) -> Result<u64, Full> {
        for (node, blocks) in files {
            fill(tree, *node, &mut self.space.take(*blocks)?);
        }
        Ok(files.iter().map(|(_, blocks)| blocks.next_multiple_of(GRAIN_BLOCKS)).sum())
    }

    fn indices(&mut self, tree: &mut Tree, fresh: &Fresh) -> Result<u64, Full> {
        let mut nodes: Vec<NodeId> = fresh.directories.iter().chain(&fresh.nodes).copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        let need = |node: &NodeId| {
            let node = &tree.nodes[*node];
            extents::blocks_needed(node.extents.len()).saturating_sub(node.index.len())
        };
        let needs: Vec<(NodeId, usize)> = nodes.iter().map(|node| (*node, need(node))).collect();
        let total = needs.iter().map(|(_, blocks)| *blocks as u64).sum();
        let mut supply = self.space.take(total)?;
        for (node, blocks) in needs {
            tree.nodes[node].index.extend((0..blocks).map(|_| supply.one()));
        }
        Ok(total.next_multiple_of(GRAIN_BLOCKS))
    }
}

/// What is used with an eighth more, in steps that grow with it: what changes little takes the same room again.
fn room(used: u64, least: u64) -> u64 {
    if used == 0 {
        return 0;
    }
    (used + used / 8).next_multiple_of(step(used, least))
}

fn step(used: u64, least: u64) -> u64 {
    (used.next_power_of_two() / 8).max(least)
}

/// The blocks of these extents.
pub fn blocks_of(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| u64::from(extent.length)).sum()
}

/// The blocks of a file that are in no hole.
fn data_blocks(tree: &Tree, node: NodeId) -> u64 {
    runs(tree, node).iter().map(|run| run.end - run.start).sum()
}

/// The same as ranges of blocks within the file.
fn runs(tree: &Tree, node: NodeId) -> Vec<std::ops::Range<u64>> {
    let Body::Regular { content, .. } = &tree.nodes[node].body else { return Vec::new() };
    let size = BLOCK as u64;
    content.data.iter().map(|bytes| bytes.start / size..bytes.end.div_ceil(size)).collect()
}

fn fill(tree: &mut Tree, node: NodeId, supply: &mut Supply) {
    for run in runs(tree, node) {
        let mut logical = run.start as u32;
        for piece in supply.next(run.end - run.start) {
            let length = (piece.end - piece.start) as u32;
            extents::append(&mut tree.nodes[node].extents, logical, piece.start, length);
            logical += length;
        }
    }
}

/// Adds blocks at the end of a directory or link.
fn extend(tree: &mut Tree, node: NodeId, blocks: u64, supply: &mut Supply) {
    let extents = &mut tree.nodes[node].extents;
    for piece in supply.next(blocks) {
        let logical = blocks_of(extents) as u32;
        extents::append(extents, logical, piece.start, (piece.end - piece.start) as u32);
    }
}
