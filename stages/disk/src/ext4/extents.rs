//! Where the blocks of a file are: extents, in the inode or in a tree of blocks (kernel documentation, "Extent Tree").

use super::bytes::{BLOCK, Fields, halves};
use super::crc::Seed;

/// Blocks of a file that lie side by side on the disk too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first of them, counted within the file.
    pub logical: u32,
    /// The first of them, counted within the file system.
    pub physical: u64,
    /// Their number, at most [`LONGEST`].
    pub length: u32,
}

/// More would mean that the blocks were never written.
pub const LONGEST: u32 = 32768;

const IN_INODE: usize = 4;
const IN_BLOCK: usize = (BLOCK - 12) / 12;
const MAGIC: u16 = 0xf30a;

/// Adds blocks to a file's extents, making the last of them longer where that is possible.
pub fn append(extents: &mut Vec<Extent>, logical: u32, physical: u64, length: u32) {
    if let Some(last) = extents.last_mut() {
        let follows = last.logical + last.length == logical
            && last.physical + u64::from(last.length) == physical
            && last.length < LONGEST;
        if follows {
            let more = length.min(LONGEST - last.length);
            last.length += more;
            if more < length {
                append(extents, logical + more, physical + u64::from(more), length - more);
            }
            return;
        }
    }
    let first = length.min(LONGEST);
    extents.push(Extent { logical, physical, length: first });
    if first < length {
        append(extents, logical + first, physical + u64::from(first), length - first);
    }
}

/// How many blocks of its own the tree over so many extents needs.
pub fn blocks_needed(extents: usize) -> usize {
    let (mut nodes, mut blocks) = (extents, 0);
    while nodes > IN_INODE {
        nodes = nodes.div_ceil(IN_BLOCK);
        blocks += nodes;
    }
    blocks
}

/// The root that goes into the inode, and the blocks of the tree. `blocks` has [`blocks_needed`] places for them.
pub fn tree(extents: &[Extent], blocks: &[u64], seed: Seed) -> ([u8; 60], Vec<(u64, Vec<u8>)>) {
    let mut level: Vec<[u8; 12]> = extents.iter().map(leaf).collect();
    let mut keys: Vec<u32> = extents.iter().map(|extent| extent.logical).collect();
    let (mut free, mut made, mut depth) = (blocks.iter().copied(), Vec::new(), 0);
    while level.len() > IN_INODE {
        let mut above = Vec::new();
        for (entries, key) in level.chunks(IN_BLOCK).zip(keys.iter().step_by(IN_BLOCK)) {
            let block = free.next().expect("as many places as the tree needs");
            made.push((block, node(entries, depth, seed)));
            above.push(index(*key, block));
        }
        keys = keys.into_iter().step_by(IN_BLOCK).collect();
        level = above;
        depth += 1;
    }
    let mut root = [0; 60];
    fill(&mut root, &level, IN_INODE, depth);
    (root, made)
}

fn node(entries: &[[u8; 12]], depth: u16, seed: Seed) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    fill(&mut block, entries, IN_BLOCK, depth);
    let end = 12 + IN_BLOCK * 12;
    let sum = seed.sum(&block[..end]);
    block.set32(end, sum);
    block
}

fn fill(out: &mut [u8], entries: &[[u8; 12]], most: usize, depth: u16) {
    out.set16(0, MAGIC);
    out.set16(2, entries.len() as u16);
    out.set16(4, most as u16);
    out.set16(6, depth);
    for (place, entry) in out[12..].chunks_exact_mut(12).zip(entries) {
        place.copy_from_slice(entry);
    }
}

fn leaf(extent: &Extent) -> [u8; 12] {
    let (low, high) = halves(extent.physical);
    let mut bytes = [0; 12];
    bytes.set32(0, extent.logical);
    bytes.set16(4, extent.length as u16);
    bytes.set16(6, high as u16);
    bytes.set32(8, low);
    bytes
}

fn index(first: u32, block: u64) -> [u8; 12] {
    let (low, high) = halves(block);
    let mut bytes = [0; 12];
    bytes.set32(0, first);
    bytes.set32(4, low);
    bytes.set16(8, high as u16);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_up_to_the_longest() {
        let mut extents = Vec::new();
        append(&mut extents, 0, 100, 30_000);
        append(&mut extents, 30_000, 30_100, 10_000);
        append(&mut extents, 40_000, 90_000, 70_000);
        let lengths: Vec<u32> = extents.iter().map(|extent| extent.length).collect();
        assert_eq!(lengths, [32_768, 7_232, 32_768, 32_768, 4_464]);
        assert_eq!(extents[4].logical, 40_000 + 65_536);
        assert_eq!(extents[4].physical, 90_000 + 65_536);
    }

    #[test]
    fn trees_grow_with_their_extents() {
        let needed = [0, 4, 5, 340, 341, 4 * 340, 4 * 340 + 1].map(blocks_needed);
        assert_eq!(needed, [0, 0, 1, 1, 2, 4, 5 + 1]);
    }
}
