//! What is in use: blocks, inodes and directories, and the bitmaps and descriptors that say so.

use std::ops::Range;

use super::bytes::{BLOCK, Fields, halves};
use super::crc::Seed;
use super::geometry::{DESCRIPTOR, GROUP, Geometry};

const NO_INODES: u16 = 1;
const NO_BLOCKS: u16 = 2;
const ZEROED: u16 = 4;

/// What is in use.
#[derive(Debug, Clone)]
pub struct Usage {
    blocks: Vec<u64>,
    inodes: Vec<u64>,
    directories: Vec<u32>,
}

impl Usage {
    /// Only what the geometry takes, and the inodes that nobody may have.
    pub fn new(geometry: &Geometry, reserved_inodes: u32) -> Self {
        let words = |bits: u64| vec![0; bits.div_ceil(64) as usize];
        let mut usage = Self {
            blocks: words(geometry.blocks),
            inodes: words(u64::from(geometry.inodes())),
            directories: vec![0; geometry.groups as usize],
        };
        geometry.taken().into_iter().for_each(|range| usage.take_blocks(range));
        (1..=reserved_inodes).for_each(|inode| usage.take_inode(inode));
        usage
    }

    /// Marks blocks.
    pub fn take_blocks(&mut self, blocks: Range<u64>) {
        blocks.for_each(|block| self.blocks[(block / 64) as usize] |= 1 << (block % 64));
    }

    /// Marks an inode.
    pub fn take_inode(&mut self, inode: u32) {
        let bit = inode - 1;
        self.inodes[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    /// Marks an inode that is a directory's.
    pub fn take_directory(&mut self, inode: u32, geometry: &Geometry) {
        self.take_inode(inode);
        self.directories[((inode - 1) / geometry.inodes_per_group) as usize] += 1;
    }

    /// Blocks that are free.
    pub fn free_blocks(&self, geometry: &Geometry) -> u64 {
        geometry.blocks - ones(&self.blocks)
    }

    /// Inodes that are free.
    pub fn free_inodes(&self, geometry: &Geometry) -> u32 {
        geometry.inodes() - ones(&self.inodes) as u32
    }

    /// The descriptors of all groups, padded to blocks, and the bitmaps that are not made up when they are needed.
    pub fn describe(&self, geometry: &Geometry, seed: Seed) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let mut descriptors = vec![0; geometry.descriptors as usize * BLOCK];
        let mut bitmaps = Vec::new();
        for (group, out) in (0..geometry.groups).zip(descriptors.chunks_exact_mut(DESCRIPTOR)) {
            let blocks = self.block_bitmap(geometry, group);
            let inodes = self.inode_bitmap(geometry, group);
            self.descriptor(geometry, group, [&blocks, &inodes], seed, out);
            bitmaps.extend(blocks.map(|bytes| (geometry.block_bitmap(group), bytes)));
            bitmaps.extend(inodes.map(|bytes| (geometry.inode_bitmap(group), bytes)));
        }
        (descriptors, bitmaps)
    }

    fn descriptor(
        &self,
        geometry: &Geometry,
        group: u32,
        [blocks, inodes]: [&Option<Vec<u8>>; 2],
        seed: Seed,
        out: &mut [u8],
    ) {
        let range = geometry.group(group);
        let free = range.end - range.start - ones(&self.words(&self.blocks, range));
        let table = self.inodes_of(geometry, group);
        let last = (0..geometry.inodes_per_group).rev().find(|bit| is_set(&table, u64::from(*bit)));
        let unused = geometry.inodes_per_group - last.map_or(0, |last| last + 1);
        let mut set = |at: usize, high: usize, value: u64| {
            let (low_half, high_half) = halves(value);
            out.set32(at, low_half);
            out.set32(high, high_half);
        };
        set(0x00, 0x20, geometry.block_bitmap(group));
        set(0x04, 0x24, geometry.inode_bitmap(group));
        set(0x08, 0x28, geometry.inode_table(group));
        let mut set = |at: usize, high: usize, value: u32| {
            out.set16(at, value as u16);
            out.set16(high, (value >> 16) as u16);
        };
        set(0x0c, 0x2c, free as u32);
        set(0x0e, 0x2e, geometry.inodes_per_group - ones(&table) as u32);
        set(0x10, 0x30, self.directories[group as usize]);
        set(0x1c, 0x32, unused);
        set(0x18, 0x38, blocks.as_ref().map_or(0, |bitmap| seed.sum(bitmap)));
        let covered = geometry.inodes_per_group as usize / 8;
        set(0x1a, 0x3a, inodes.as_ref().map_or(0, |bitmap| seed.sum(&bitmap[..covered])));
        let flag = |bitmap: &Option<Vec<u8>>, flag| if bitmap.is_none() { flag } else { 0 };
        out.set16(0x12, ZEROED | flag(blocks, NO_BLOCKS) | flag(inodes, NO_INODES));
        let sum = seed.sum(&[&group.to_le_bytes()[..], &*out].concat());
        out.set16(0x1e, sum as u16);
    }

    /// `None` for a group that nobody put anything into: the kernel knows what its bitmap looks like.
    fn block_bitmap(&self, geometry: &Geometry, group: u32) -> Option<Vec<u8>> {
        let range = geometry.group(group);
        let words = self.words(&self.blocks, range.clone());
        let head = geometry.head(group);
        let is_last = group + 1 == geometry.groups;
        (is_last || ones(&words) != head.end - head.start).then(|| bitmap(&words, range.end - range.start))
    }

    fn inode_bitmap(&self, geometry: &Geometry, group: u32) -> Option<Vec<u8>> {
        let words = self.inodes_of(geometry, group);
        (ones(&words) != 0).then(|| bitmap(&words, u64::from(geometry.inodes_per_group)))
    }

    fn inodes_of(&self, geometry: &Geometry, group: u32) -> Vec<u64> {
        let start = u64::from(group) * u64::from(geometry.inodes_per_group);
        self.words(&self.inodes, start..start + u64::from(geometry.inodes_per_group))
    }

    /// The words of some bits. Groups start and end with whole words, the last perhaps not.
    fn words(&self, bits: &[u64], range: Range<u64>) -> Vec<u64> {
        bits[(range.start / 64) as usize..range.end.div_ceil(64) as usize].to_vec()
    }
}

/// One block of bits, of which those beyond `bits` are set.
fn bitmap(words: &[u64], bits: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(BLOCK, 0);
    for bit in bits..GROUP {
        bytes[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    bytes
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn is_set(words: &[u64], bit: u64) -> bool {
    words[(bit / 64) as usize] >> (bit % 64) & 1 == 1
}
