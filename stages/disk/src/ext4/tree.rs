//! The tree that layers make, with the inodes and blocks that each thing in it was given.

use std::collections::BTreeMap;

use super::attrs::{Attrs, Refused};
use super::crc::crc32c;
use super::dirs;
use super::extents::Extent;
use super::inode::{self, SHORT_LINK};
use crate::error::DiskError;
use ibuild_cache::BlobId;
use ibuild_snapshot::files::{LayerChange, LayerContent, LayerFile, LayerKind, Listed};
use ibuild_snapshot::{Entry, Kind, Metadata};

/// A file, by its place in [`Tree::nodes`].
pub type NodeId = usize;

/// The root directory.
pub const ROOT: NodeId = 0;

/// Where `e2fsck` puts files that have lost their names.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// A file without its names.
#[derive(Debug)]
pub struct Node {
    /// Its inode; zero until it is placed.
    pub inode: u32,
    /// Owner, mode, times.
    pub meta: Metadata,
    /// Its attributes as ext4 keeps them.
    pub attrs: Attrs,
    /// The block of its attributes, if it was given one.
    pub attr_block: Option<u64>,
    /// Type and content.
    pub body: Body,
    /// How many names it has in the end.
    pub names: u32,
    /// Where its blocks are: those of a file or long link, or those that a directory may use.
    pub extents: Vec<Extent>,
    /// The blocks of its tree of extents.
    pub index: Vec<u64>,
    /// A number that follows from its first name, and cuts files into packs.
    pub mark: u32,
}

/// What a file is.
#[derive(Debug)]
pub enum Body {
    /// A directory.
    Directory {
        /// What is in it.
        children: BTreeMap<Vec<u8>, NodeId>,
        /// The directory above.
        parent: NodeId,
    },
    /// A regular file.
    Regular {
        /// Its bytes, as its layer has them.
        content: LayerContent,
        /// Their digest, if they are still there in the end.
        digest: Option<BlobId>,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Body {
    /// The type as a mode has it, and as a directory entry has it.
    pub fn kind(&self) -> (u16, u8) {
        match self {
            Body::Directory { .. } => (inode::DIRECTORY, dirs::DIRECTORY),
            Body::Regular { .. } => (inode::REGULAR, 1),
            Body::Symlink(_) => (inode::SYMLINK, 7),
            Body::Char(..) => (inode::CHAR, 3),
            Body::Block(..) => (inode::BLOCK_DEVICE, 4),
            Body::Fifo => (inode::FIFO, 5),
        }
    }
}

/// What one layer, or all of them together, brought.
#[derive(Debug, Default)]
pub struct Fresh {
    /// New files, in the order of their names.
    pub nodes: Vec<NodeId>,
    /// Directories in which names changed, or that are new, or have other attributes; each once, in order.
    pub directories: Vec<NodeId>,
}

/// Everything that layers brought so far.
#[derive(Debug)]
pub struct Tree {
    /// All files, those that are not there any more too.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// One of the paths of a file. Looks through all of the tree, so it is for messages.
    pub fn path_of(&self, file: NodeId) -> Vec<u8> {
        let (mut path, mut at) = (Vec::new(), file);
        while at != ROOT {
            let found = self.nodes.iter().enumerate().find_map(|(id, node)| match &node.body {
                Body::Directory { children, .. } => {
                    let (name, _) = children.iter().find(|(_, child)| **child == at)?;
                    Some((id, name))
                }
                _ => None,
            });
            let Some((directory, name)) = found else { break };
            path.splice(..0, [b"/", name.as_slice()].concat());
            at = directory;
        }
        path
    }

    /// An empty root directory.
    pub fn new() -> Self {
        let body = Body::Directory { children: BTreeMap::new(), parent: ROOT };
        Self { nodes: vec![Node::new(Metadata::default(), Attrs::default(), body, 0)] }
    }

    /// Puts the directory there that every ext4 has, below all layers.
    pub fn add_lost_and_found(&mut self, epoch: i64) -> Result<Fresh, DiskError> {
        let meta = Metadata { mode: 0o700, mtime: epoch, ..Metadata::default() };
        let file = LayerFile { meta, kind: LayerKind::Directory };
        self.add(&vec![(LOST_AND_FOUND.to_vec(), LayerChange::Set(file))])
    }

    /// Puts a layer on top.
    pub fn add(&mut self, layer: &Listed<LayerChange>) -> Result<Fresh, DiskError> {
        let (mut fresh, mut cursor) = (Fresh::default(), Cursor::default());
        for (path, change) in layer {
            let place = cursor.place(self, path);
            match change {
                LayerChange::Removed => self.remove(place, &mut fresh),
                LayerChange::Set(file) => self.set(path, place, file, &mut fresh)?,
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        fresh.directories.retain(|node| !std::mem::replace(&mut seen[*node], true));
        Ok(fresh)
    }

    /// All files that are there, as if one layer had brought them.
    pub fn everything(&self) -> Fresh {
        let mut fresh = Fresh::default();
        let mut seen = vec![false; self.nodes.len()];
        self.walk(ROOT, &mut |node| {
            if !std::mem::replace(&mut seen[node], true) {
                fresh.nodes.push(node);
            }
        });
        fresh.directories = fresh.nodes.iter().copied().filter(|node| self.is_directory(*node)).collect();
        fresh
    }

    /// Visits every name below a directory, the directory itself first.
    pub fn walk(&self, node: NodeId, visit: &mut impl FnMut(NodeId)) {
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            visit(node);
            if let Body::Directory { children, .. } = &self.nodes[node].body {
                waiting.extend(children.values().rev());
            }
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.nodes[node].body, Body::Directory { .. })
    }

    /// What is in a directory; nothing in anything else.
    pub fn children(&mut self, node: NodeId) -> &mut BTreeMap<Vec<u8>, NodeId> {
        match &mut self.nodes[node].body {
            Body::Directory { children, .. } => children,
            _ => unreachable!("a layer has a directory before what is in it"),
        }
    }

    fn find(&self, path: &[u8]) -> Option<NodeId> {
        Cursor::default().place(self, path).and_then(|place| self.at(place))
    }

    /// What is in a place.
    fn at(&self, Place { above, name }: Place<'_>) -> Option<NodeId> {
        match &self.nodes[above].body {
            _ if name.is_empty() => Some(ROOT),
            Body::Directory { children, .. } => children.get(name).copied(),
            _ => None,
        }
    }

    fn remove(&mut self, place: Option<Place<'_>>, fresh: &mut Fresh) {
        if let Some(Place { above, name }) = place {
            self.children(above).remove(name);
            fresh.directories.push(above);
        }
    }

    fn set(
        &mut self,
        path: &[u8],
        place: Option<Place<'_>>,
        file: &LayerFile,
        fresh: &mut Fresh,
    ) -> Result<(), DiskError> {
        let attrs = Attrs::of(&file.meta.xattrs).map_err(|refused| refuse(path, refused))?;
        let place = place.ok_or_else(|| disagree(path))?;
        let there = self.at(place).filter(|node| self.is_directory(*node));
        if let (LayerKind::Directory, Some(node)) = (&file.kind, there) {
            let node_there = &mut self.nodes[node];
            (node_there.meta, node_there.attrs) = (file.meta.clone(), attrs);
            fresh.directories.push(node);
            return Ok(());
        }
        let node = match &file.kind {
            // It came before in this layer, and nothing of a layer takes its place.
            LayerKind::Link(first) => self.find(first).ok_or_else(|| disagree(path))?,
            _ => self.make(path, file, attrs, place.above, fresh),
        };
        self.children(place.above).insert(place.name.to_vec(), node);
        fresh.directories.push(place.above);
        Ok(())
    }

    fn make(
        &mut self,
        path: &[u8],
        file: &LayerFile,
        attrs: Attrs,
        parent: NodeId,
        fresh: &mut Fresh,
    ) -> NodeId {
        let body = match &file.kind {
            LayerKind::Directory => Body::Directory { children: BTreeMap::new(), parent },
            LayerKind::Regular(content) => Body::Regular { content: content.clone(), digest: None },
            LayerKind::Symlink(target) => Body::Symlink(target.clone()),
            LayerKind::Char(major, minor) => Body::Char(*major, *minor),
            LayerKind::Block(major, minor) => Body::Block(*major, *minor),
            LayerKind::Fifo => Body::Fifo,
            LayerKind::Link(_) => unreachable!("a link makes no file"),
        };
        let node = self.nodes.len();
        self.nodes.push(Node::new(file.meta.clone(), attrs, body, crc32c(0, path)));
        fresh.nodes.push(node);
        if self.is_directory(node) {
            fresh.directories.push(node);
        }
        node
    }

    /// Makes sure that the layers make the tree that they are said to make, and takes the digests of files from it.
    pub fn match_with(&mut self, tree: &Listed<Entry>) -> Result<(), DiskError> {
        let mut cursor = Cursor::default();
        for (path, entry) in tree {
            let place = cursor.place(self, path);
            let node = place.and_then(|place| self.at(place)).ok_or_else(|| disagree(path))?;
            self.nodes[node].names += 1;
            if !self.nodes[node].agrees(entry) {
                return Err(disagree(path));
            }
        }
        let mut names = 0;
        self.walk(ROOT, &mut |_| names += 1);
        let own = self.find(LOST_AND_FOUND).is_some() && tree.iter().all(|(path, _)| path != LOST_AND_FOUND);
        if names == tree.len() + usize::from(own) { Ok(()) } else { Err(disagree(b"")) }
    }
}

/// Where a file is: its name in a directory. The root has no name, and is in itself.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    above: NodeId,
    name: &'p [u8],
}

/// Finds the places of paths, of which those in one directory come one after the other. Where that directory is does not change
/// meanwhile, because it comes before what is in it.
#[derive(Debug, Default)]
struct Cursor<'p> {
    last: Option<(&'p [u8], NodeId)>,
}

impl<'p> Cursor<'p> {
    /// `None` if there is no such directory.
    fn place(&mut self, tree: &Tree, path: &'p [u8]) -> Option<Place<'p>> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let above = match self.last {
            Some((last, node)) if last == directory => node,
            _ if directory.is_empty() => ROOT,
            _ => tree.find(directory)?,
        };
        self.last = Some((directory, above));
        tree.is_directory(above).then_some(Place { above, name })
    }
}

impl Node {
    fn new(meta: Metadata, attrs: Attrs, body: Body, mark: u32) -> Self {
        let (extents, index) = (Vec::new(), Vec::new());
        Self { inode: 0, meta, attrs, attr_block: None, body, names: 0, extents, index, mark }
    }

    /// Whether it is what the tree says. A file's digest is what the tree says.
    fn agrees(&mut self, entry: &Entry) -> bool {
        let same_body = match (&mut self.body, &entry.kind) {
            (Body::Directory { .. }, Kind::Directory(_)) | (Body::Fifo, Kind::Fifo) => true,
            (Body::Regular { content, digest }, Kind::File { content: named, size, .. }) => {
                content.size == *size && *digest.get_or_insert(*named) == *named
            }
            (Body::Symlink(target), Kind::Symlink(named)) => target == named,
            (Body::Char(major, minor), Kind::Char(a, b)) => (&*major, &*minor) == (a, b),
            (Body::Block(major, minor), Kind::Block(a, b)) => (&*major, &*minor) == (a, b),
            _ => false,
        };
        same_body && self.meta == entry.meta
    }

    /// The target, if it is a symbolic link that needs a block.
    pub fn long_link(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Symlink(target) if target.len() >= SHORT_LINK => Some(target),
            _ => None,
        }
    }
}

fn disagree(path: &[u8]) -> DiskError {
    DiskError::Disagree { file: display(path) }
}

fn refuse(path: &[u8], refused: Refused) -> DiskError {
    DiskError::Xattr {
        file: display(path),
        attribute: String::from_utf8_lossy(&refused.name).into_owned(),
        reason: refused.reason.into(),
    }
}

fn display(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_what_it_is_in() {
        let mut tree = Tree::new();
        let directory = |parent| Body::Directory { children: BTreeMap::new(), parent };
        let mut add = |parent: NodeId, name: &[u8], body| {
            let id = tree.nodes.len();
            tree.nodes.push(Node::new(Metadata::default(), Attrs::default(), body, 0));
            tree.children(parent).insert(name.to_vec(), id);
            id
        };
        let usr = add(ROOT, b"usr", directory(ROOT));
        let lib = add(usr, b"lib", directory(usr));
        let file = add(lib, b"many", Body::Fifo);
        assert_eq!(tree.path_of(file), b"/usr/lib/many");
        assert_eq!(tree.path_of(usr), b"/usr");
    }
}
