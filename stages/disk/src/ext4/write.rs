//! From a placed tree to pieces of a disk: inodes, directories, attributes, links, and which file is where.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::FilesystemOptions;
use super::bytes::BLOCK;
use super::crc::Seed;
use super::dirs::{Directory, Name};
use super::extents::{self, Extent};
use super::geometry::Geometry;
use super::hash::NameHash;
use super::inode::{EXTENTS, INDEX, Inode, MOST_LINKS, device};
use super::place::blocks_of;
use super::tree::{Body, Node, NodeId, ROOT, Tree};
use super::usage::Usage;
use crate::error::DiskError;
use crate::map::{ContentFile, DiskMap, Origin, Piece};

/// Collects what is on a file system. Places are blocks until the end.
pub struct Writer<'a> {
    options: &'a FilesystemOptions,
    geometry: &'a Geometry,
    seed: Seed,
    hash: NameHash,
    usage: Usage,
    tables: BTreeMap<u64, Vec<u8>>,
    pieces: Vec<Piece>,
    files: Vec<ContentFile>,
}

impl<'a> Writer<'a> {
    /// A writer for an empty file system.
    pub fn new(options: &'a FilesystemOptions, geometry: &'a Geometry, usage: Usage) -> Self {
        let (seed, hash) = (Seed::of(options.uuid), NameHash::new(options.hash_seed));
        let (tables, pieces, files) = Default::default();
        Self { options, geometry, seed, hash, usage, tables, pieces, files }
    }

    /// What is in use so far.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Writes a block that is in use.
    pub fn block(&mut self, block: u64, bytes: Vec<u8>) {
        self.usage.take_blocks(block..block + 1);
        self.bytes(block * BLOCK as u64, bytes);
    }

    /// Writes bytes somewhere. What is zero is left out, because everything else is zero.
    pub fn bytes(&mut self, at: u64, bytes: Vec<u8>) {
        if bytes.iter().any(|byte| *byte != 0) {
            self.pieces.push(Piece { at: self.options.start + at, origin: Origin::Bytes(bytes) });
        }
    }

    /// Writes an inode.
    pub fn inode(&mut self, number: u32, inode: &Inode) {
        let (block, at) = self.geometry.inode(number);
        let bytes = inode.bytes(self.seed.inode(number));
        let table = self.tables.entry(block).or_insert_with(|| vec![0; BLOCK]);
        table[at..at + bytes.len()].copy_from_slice(&bytes);
        if inode.mode & 0o170_000 == super::inode::DIRECTORY {
            self.usage.take_directory(number, self.geometry);
        } else {
            self.usage.take_inode(number);
        }
    }

    /// The root of the tree of a file's extents, whose blocks are written. The extents' own are marked.
    pub fn extents(&mut self, number: u32, extents: &[Extent], index: &[u64]) -> [u8; 60] {
        for extent in extents {
            self.usage.take_blocks(extent.physical..extent.physical + u64::from(extent.length));
        }
        let (root, blocks) = extents::tree(extents, index, self.seed.inode(number));
        blocks.into_iter().for_each(|(place, bytes)| self.block(place, bytes));
        root
    }

    /// Writes everything that is in the tree.
    pub fn tree(&mut self, tree: &Tree) -> Result<(), DiskError> {
        let mut seen = vec![false; tree.nodes.len()];
        let mut order = Vec::new();
        tree.walk(ROOT, &mut |node| {
            if !std::mem::replace(&mut seen[node], true) {
                order.push(node);
            }
        });
        // These are most of the work, and need nothing but the tree.
        let directories = order.par_iter().filter(|node| tree.is_directory(**node));
        let made = directories.map(|node| (*node, self.directory_blocks(tree, *node)));
        let mut made: HashMap<NodeId, DirectoryBlocks> = made.collect();
        order.iter().try_for_each(|node| check_holes(&tree.nodes[*node]))?;
        order.into_iter().try_for_each(|node| self.node(tree, node, made.remove(&node)))
    }

    fn directory_blocks(&self, tree: &Tree, id: NodeId) -> DirectoryBlocks {
        let node = &tree.nodes[id];
        let Body::Directory { children, parent } = &node.body else { unreachable!("the caller looked") };
        let names: Vec<Name<'_>> = children
            .iter()
            .map(|(name, child)| {
                let child = &tree.nodes[*child];
                Name { name, inode: child.inode, kind: child.body.kind().1 }
            })
            .collect();
        let below = names.iter().filter(|name| name.kind == super::dirs::DIRECTORY).count() as u32;
        let (parent, seed) = (tree.nodes[*parent].inode, self.seed.inode(node.inode));
        let own = Directory { inode: node.inode, parent, names: &names, seed };
        DirectoryBlocks { blocks: own.blocks(self.hash), below }
    }

    fn node(&mut self, tree: &Tree, id: NodeId, made: Option<DirectoryBlocks>) -> Result<(), DiskError> {
        let node = &tree.nodes[id];
        let mut inode = Inode::new(node.body.kind().0 | node.meta.mode as u16, self.options.epoch);
        (inode.uid, inode.gid, inode.mtime) = (node.meta.uid, node.meta.gid, node.meta.mtime);
        inode.links = node.names;
        inode.attrs = node.attrs.clone();
        match &node.body {
            Body::Directory { .. } => {
                self.directory(node, made.expect("made before for each directory"), &mut inode);
            }
            Body::Regular { .. } => self.regular(node, &mut inode),
            Body::Symlink(target) => self.symlink(node, target, &mut inode),
            Body::Char(major, minor) | Body::Block(major, minor) => inode.payload = device(*major, *minor),
            Body::Fifo => {}
        }
        if inode.links > MOST_LINKS && !matches!(node.body, Body::Directory { .. }) {
            let path = String::from_utf8_lossy(&tree.path_of(id)).into_owned();
            let reason = format!("`{path}` has more than {MOST_LINKS} names, which ext4 cannot have");
            return Err(DiskError::Spec { image: self.options.image.clone(), reason });
        }
        if node.attrs.need_block() {
            let place = node.attr_block.expect("what needs a block was given one");
            self.block(place, node.attrs.block(place, self.seed));
            inode.attr_block = place;
            inode.blocks += 1;
        }
        self.inode(node.inode, &inode);
        Ok(())
    }

    fn directory(&mut self, node: &Node, made: DirectoryBlocks, inode: &mut Inode) {
        let DirectoryBlocks { blocks, below } = made;
        // One means: too many to count.
        inode.links = if below + 2 > MOST_LINKS { 1 } else { below + 2 };
        inode.flags = EXTENTS | if blocks.len() > 1 { INDEX } else { 0 };
        self.mapped(node.inode, blocks, &node.extents, &node.index, inode);
    }

    /// Gives an inode blocks with these bytes, the first of those that it may have.
    pub fn mapped(
        &mut self,
        number: u32,
        blocks: Vec<Vec<u8>>,
        places: &[Extent],
        index: &[u64],
        inode: &mut Inode,
    ) {
        let count = blocks.len() as u64;
        let used = first(places, count);
        let tree_blocks = extents::blocks_needed(used.len());
        inode.size = count * BLOCK as u64;
        inode.blocks = count + tree_blocks as u64;
        inode.payload = self.extents(number, &used, &index[..tree_blocks]);
        let places = used.iter().flat_map(|e| e.physical..e.physical + u64::from(e.length));
        for (place, bytes) in places.zip(blocks) {
            self.bytes(place * BLOCK as u64, bytes);
        }
    }

    fn regular(&mut self, node: &Node, inode: &mut Inode) {
        let Some(found) = content_file(node) else { unreachable!("the caller looked") };
        inode.size = found.size;
        inode.flags = EXTENTS;
        inode.blocks = blocks_of(&node.extents) + node.index.len() as u64;
        inode.payload = self.extents(node.inode, &node.extents, &node.index);
        let (file, size) = (self.files.len(), found.size);
        self.files.push(found);
        for extent in &node.extents {
            let offset = u64::from(extent.logical) * BLOCK as u64;
            let length = (u64::from(extent.length) * BLOCK as u64).min(size - offset);
            let at = self.options.start + extent.physical * BLOCK as u64;
            self.pieces.push(Piece { at, origin: Origin::File { file, offset, length } });
        }
    }

    fn symlink(&mut self, node: &Node, target: &[u8], inode: &mut Inode) {
        if node.long_link().is_none() {
            inode.payload[..target.len()].copy_from_slice(target);
        } else {
            let mut block = target.to_vec();
            block.resize(BLOCK, 0);
            inode.flags = EXTENTS;
            self.mapped(node.inode, vec![block], &node.extents, &[], inode);
        }
        inode.size = target.len() as u64;
    }

    /// Ends with the tables, and gives the map of what is there.
    pub fn finish(mut self) -> DiskMap {
        for (block, bytes) in std::mem::take(&mut self.tables) {
            self.bytes(block * BLOCK as u64, bytes);
        }
        DiskMap::new(self.options.start + self.options.size, self.pieces, self.files)
    }
}

/// What a directory is made of.
struct DirectoryBlocks {
    blocks: Vec<Vec<u8>>,
    /// How many of its names are directories.
    below: u32,
}

/// What is in a regular file.
fn content_file(node: &Node) -> Option<ContentFile> {
    let Body::Regular { content, digest } = &node.body else { return None };
    let digest = digest.expect("what is there in the end has a digest");
    Some(ContentFile { content: digest, size: content.size, place: content.place.clone() })
}

/// What is in a hole is never read, so it has to be known that it belongs there: that the file with these holes is the tree's.
fn check_holes(node: &Node) -> Result<(), DiskError> {
    let Body::Regular { content, digest } = &node.body else { return Ok(()) };
    match content.with_holes {
        Some(found) if Some(found) != *digest => {
            Err(DiskError::Disagree { file: content.place.display().to_string() })
        }
        _ => Ok(()),
    }
}

/// The first blocks of these extents.
fn first(extents: &[Extent], mut blocks: u64) -> Vec<Extent> {
    let mut found = Vec::new();
    for extent in extents {
        let length = blocks.min(u64::from(extent.length));
        if length > 0 {
            found.push(Extent { length: length as u32, ..*extent });
        }
        blocks -= length;
    }
    found
}
