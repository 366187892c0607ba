//! Directories as blocks: a plain list while one block holds them, a tree ordered by hash beyond that (kernel
//! documentation, "Directory Entries" and "Hash Tree Directories").

use super::bytes::{BLOCK, Fields};
use super::crc::Seed;
use super::hash::NameHash;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Its bytes, at most 255.
    pub name: &'a [u8],
    /// The inode.
    pub inode: u32,
    /// The type of file, as a directory entry tells it.
    pub kind: u8,
}

/// The type of directories in directory entries.
pub const DIRECTORY: u8 = 2;

/// The check sum at the end of each block of entries.
const TAIL: usize = 12;
/// Bytes of a block that entries may use.
const ROOM: usize = BLOCK - TAIL;
/// Bytes that are used in a block of a tree, so that the running system can add names without splitting it at once.
const LEAF_ROOM: usize = ROOM / 8 * 7;
/// Entries of the tree's root and of the nodes under it.
const ROOT_LIMIT: usize = (BLOCK - ROOT_HEAD - 8) / 8;
const NODE_LIMIT: usize = (BLOCK - NODE_HEAD - 8) / 8;
/// What comes before them: `.` and `..` with a description of the tree, or an entry that covers the block.
const ROOT_HEAD: usize = 32;
const NODE_HEAD: usize = 8;
const HALF_MD4: u8 = 1;

/// Bytes of an entry with a name of this length.
fn entry_size(name: usize) -> usize {
    (8 + name).next_multiple_of(4)
}

/// How a directory is cut into blocks.
enum Shape {
    /// One block.
    List,
    /// Leaves, each with the hash of its first name and the indices of its names, and the number of nodes above them.
    Tree { leaves: Vec<(u32, Vec<usize>)>, nodes: usize },
}

fn shape(names: &[&[u8]], hash: NameHash) -> Shape {
    let dots = 2 * entry_size(1);
    if dots + names.iter().map(|name| entry_size(name.len())).sum::<usize>() <= ROOM {
        return Shape::List;
    }
    let mut order: Vec<(u32, usize)> = names.iter().enumerate().map(|(n, name)| (hash.of(name), n)).collect();
    order.sort_unstable_by_key(|&(hash, n)| (hash, names[n]));
    let mut leaves: Vec<(u32, Vec<usize>)> = vec![(0, Vec::new())];
    let (mut used, mut before) = (0, 0);
    for (hash, n) in order {
        let size = entry_size(names[n].len());
        if used + size > LEAF_ROOM {
            // Names of one hash in two blocks: the second one says so.
            leaves.push((if hash == before { hash | 1 } else { hash }, Vec::new()));
            used = 0;
        }
        leaves.last_mut().expect("never empty").1.push(n);
        (used, before) = (used + size, hash);
    }
    let nodes = if leaves.len() <= ROOT_LIMIT { 0 } else { leaves.len().div_ceil(NODE_LIMIT) };
    Shape::Tree { leaves, nodes }
}

/// The blocks that a directory with these names takes.
pub fn blocks_needed(names: &[&[u8]], hash: NameHash) -> usize {
    match shape(names, hash) {
        Shape::List => 1,
        Shape::Tree { leaves, nodes } => 1 + nodes + leaves.len(),
    }
}

/// A directory on its way to its blocks.
#[derive(Debug, Clone, Copy)]
pub struct Directory<'a> {
    /// Its own inode.
    pub inode: u32,
    /// That of the directory above.
    pub parent: u32,
    /// Its names, sorted, without `.` and `..`.
    pub names: &'a [Name<'a>],
    /// Where its check sums start.
    pub seed: Seed,
}

impl Directory<'_> {
    /// Its blocks, in order; more than one are a tree.
    pub fn blocks(&self, hash: NameHash) -> Vec<Vec<u8>> {
        let names: Vec<&[u8]> = self.names.iter().map(|name| name.name).collect();
        let (leaves, nodes) = match shape(&names, hash) {
            Shape::List => return vec![self.list()],
            Shape::Tree { leaves, nodes } => (leaves, nodes),
        };
        let first = 1 + nodes as u32;
        let mut entries: Vec<(u32, u32)> =
            leaves.iter().zip(first..).map(|((hash, _), block)| (*hash, block)).collect();
        let mut blocks = Vec::new();
        if nodes != 0 {
            blocks.extend(entries.chunks(NODE_LIMIT).map(|entries| self.node(entries)));
            entries =
                entries.chunks(NODE_LIMIT).zip(1..).map(|(entries, block)| (entries[0].0, block)).collect();
        }
        blocks.insert(0, self.root(&entries, nodes != 0));
        blocks.extend(leaves.iter().map(|(_, names)| self.leaf(names.iter().map(|n| self.names[*n]))));
        blocks
    }

    fn dots(&self) -> [Name<'static>; 2] {
        let dot = |name, inode| Name { name, inode, kind: DIRECTORY };
        [dot(b".", self.inode), dot(b"..", self.parent)]
    }

    fn list(&self) -> Vec<u8> {
        self.leaf(self.dots().into_iter().chain(self.names.iter().copied()))
    }

    /// A block of entries, the last of which reaches to the check sum.
    fn leaf<'n>(&self, names: impl Iterator<Item = Name<'n>>) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let (mut at, mut last) = (0, 0);
        for name in names {
            last = at;
            let size = entry_size(name.name.len());
            put(&mut block[at..], name, size);
            at += size;
        }
        block.set16(last + 4, (ROOM - last) as u16);
        self.seal(block)
    }

    fn seal(&self, mut block: Vec<u8>) -> Vec<u8> {
        block.set16(ROOM + 4, TAIL as u16);
        block[ROOM + 7] = 0xde;
        let sum = self.seed.sum(&block[..ROOM]);
        block.set32(ROOM + 8, sum);
        block
    }

    fn root(&self, entries: &[(u32, u32)], has_nodes: bool) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let [dot, dots] = self.dots();
        put(&mut block, dot, 12);
        put(&mut block[12..], dots, BLOCK - 12);
        block[28] = HALF_MD4;
        block[29] = 8;
        block[30] = u8::from(has_nodes);
        self.index(block, ROOT_HEAD, ROOT_LIMIT, entries)
    }

    fn node(&self, entries: &[(u32, u32)]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block.set16(4, BLOCK as u16);
        self.index(block, NODE_HEAD, NODE_LIMIT, entries)
    }

    /// Writes the entries of the tree behind `head`. The hash of the first is not written: its place holds their number.
    fn index(&self, mut block: Vec<u8>, head: usize, limit: usize, entries: &[(u32, u32)]) -> Vec<u8> {
        for (n, (hash, to)) in entries.iter().enumerate() {
            block.set32(head + n * 8, *hash);
            block.set32(head + n * 8 + 4, *to);
        }
        block.set16(head, limit as u16);
        block.set16(head + 2, entries.len() as u16);
        let covered = [&block[..head + entries.len() * 8], &[0; 8]].concat();
        let sum = self.seed.sum(&covered);
        block.set32(head + limit * 8 + 4, sum);
        block
    }
}

fn put(out: &mut [u8], name: Name<'_>, size: usize) {
    out.set32(0, name.inode);
    out.set16(4, size as u16);
    out[6] = name.name.len() as u8;
    out[7] = name.kind;
    out[8..8 + name.name.len()].copy_from_slice(name.name);
}
