//! Where everything lies whose place follows from the size alone (kernel documentation, "Layout").
//!
//! ```text
//! group 0      superblock, descriptors, room for more descriptors
//!              of groups 0..16: block bitmaps, inode bitmaps, inode tables
//!              everything else
//! group 1      copies of superblock and descriptors (also 3, 5, 7 and their powers)
//! group 16     of groups 16..32: block bitmaps, inode bitmaps, inode tables
//! ```

use std::ops::Range;

use super::bytes::BLOCK;
use super::inode::INODE;

/// Blocks of a group: one bitmap's bits.
pub const GROUP: u64 = (BLOCK * 8) as u64;
/// Blocks of a grain.
pub const GRAIN_BLOCKS: u64 = 16;
/// Inodes whose table is one grain.
pub const GRAIN_INODES: u32 = (GRAIN_BLOCKS as usize * BLOCK / INODE) as u32;
/// Inodes of a group that has one for each 16 KiB.
const GROUP_INODES: u64 = 8192;
/// Groups whose bitmaps and tables lie together, as a power of two.
pub const FLEX_BITS: u8 = 4;
const FLEX: u32 = 1 << FLEX_BITS;
/// Bytes of a group's descriptor.
pub const DESCRIPTOR: usize = 64;
/// Room for the descriptors of two more tebibytes; beyond that, the kernel puts descriptors elsewhere.
const MOST_RESERVED: u64 = 256;
/// A file system can be grown online to so many times its size, as long as there is room for descriptors.
const GROWTH: u64 = 1024;
/// A last group with fewer blocks than its own data takes and these is not worth having.
const WORTH: u64 = 64;

/// The places of one file system. All numbers are blocks of it.
#[derive(Debug, Clone)]
pub struct Geometry {
    /// Its blocks.
    pub blocks: u64,
    /// Its groups.
    pub groups: u32,
    /// Inodes of each group.
    pub inodes_per_group: u32,
    /// Blocks of descriptors.
    pub descriptors: u64,
    /// Blocks kept for more descriptors.
    pub reserved: u64,
}

/// Why there is no file system of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoGeometry {
    /// Its own data would not fit.
    #[error("a file system of {0} bytes is too small")]
    Small(u64),
    /// Its blocks could not be counted.
    #[error("a file system of {0} bytes is too large")]
    Large(u64),
    /// Its inodes could not be counted, or their tables have no place.
    #[error("a file system cannot have {0} groups with {1} inodes each")]
    Inodes(u32, u32),
}

/// The smallest file system.
const SMALLEST: u64 = 32 << 20;

impl Geometry {
    /// The geometry of a file system of so many bytes, with `inodes_per_group` unless it has one small group.
    pub fn new(bytes: u64, inodes_per_group: u32) -> Result<Self, NoGeometry> {
        if bytes < SMALLEST {
            return Err(NoGeometry::Small(bytes));
        }
        let blocks = bytes / BLOCK as u64;
        // The inode that lets it grow points with 32 bits.
        if blocks > u32::MAX.into() {
            return Err(NoGeometry::Large(bytes));
        }
        let mut made = Self::of(blocks, inodes_per_group);
        let last = made.groups - 1;
        let start = u64::from(last) * GROUP;
        if last > 0 && blocks - start < made.taken_in(last) + WORTH {
            made = Self::of(start, inodes_per_group);
        }
        let can_be_counted = made.inodes_per_group.checked_mul(made.groups).is_some();
        if can_be_counted && made.has_room_for_itself() {
            return Ok(made);
        }
        Err(NoGeometry::Inodes(made.groups, made.inodes_per_group))
    }

    /// Whether the tables of groups that share a place end before the next copy of the superblock.
    fn has_room_for_itself(&self) -> bool {
        let taken = self.taken();
        let overlaps = taken.windows(2).any(|pair| pair[0].end > pair[1].start);
        !overlaps && taken.last().is_some_and(|last| last.end <= self.blocks)
    }

    fn of(blocks: u64, inodes_per_group: u32) -> Self {
        let groups = blocks.div_ceil(GROUP) as u32;
        let descriptors = blocks_of_descriptors(u64::from(groups));
        let grown = blocks_of_descriptors((blocks * GROWTH).div_ceil(GROUP));
        let reserved = (grown - descriptors).min(MOST_RESERVED);
        let density = u64::from(inodes_per_group) / GROUP_INODES;
        let few = (blocks / 4 * density).next_multiple_of(u64::from(GRAIN_INODES)) as u32;
        let inodes_per_group = if groups == 1 { inodes_per_group.min(few) } else { inodes_per_group };
        Self { blocks, groups, inodes_per_group, descriptors, reserved }
    }

    /// Blocks of the group.
    pub fn group(&self, group: u32) -> Range<u64> {
        let start = u64::from(group) * GROUP;
        start..(start + GROUP).min(self.blocks)
    }

    /// Whether the group starts with a superblock.
    pub fn has_super(&self, group: u32) -> bool {
        group <= 1 || [3, 5, 7].into_iter().any(|base| is_power(group, base))
    }

    /// The groups with copies of the superblock, in order.
    pub fn backups(&self) -> impl Iterator<Item = u32> {
        (1..self.groups).filter(|group| self.has_super(*group))
    }

    /// Superblock and descriptors, with the room for more, at the start of the group.
    pub fn head(&self, group: u32) -> Range<u64> {
        let start = u64::from(group) * GROUP;
        let length = if self.has_super(group) { 1 + self.descriptors + self.reserved } else { 0 };
        start..start + length
    }

    /// Blocks of a group's inode table.
    pub fn table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group) * INODE as u64 / BLOCK as u64
    }

    /// All inodes.
    pub fn inodes(&self) -> u32 {
        self.inodes_per_group * self.groups
    }

    /// The first group of those that share a place, the place, and their number.
    fn flex(&self, group: u32) -> (u32, u64, u64) {
        let first = group / FLEX * FLEX;
        let start = self.head(first).end.next_multiple_of(GRAIN_BLOCKS);
        (first, start, u64::from((self.groups - first).min(FLEX)))
    }

    /// The group's bitmap of blocks.
    pub fn block_bitmap(&self, group: u32) -> u64 {
        let (first, start, _) = self.flex(group);
        start + u64::from(group - first)
    }

    /// The group's bitmap of inodes.
    pub fn inode_bitmap(&self, group: u32) -> u64 {
        let (_, _, count) = self.flex(group);
        self.block_bitmap(group) + count
    }

    /// The start of the group's inode table.
    pub fn inode_table(&self, group: u32) -> u64 {
        let (first, start, count) = self.flex(group);
        let tables = (start + 2 * count).next_multiple_of(GRAIN_BLOCKS);
        tables + u64::from(group - first) * self.table_blocks()
    }

    /// The block of an inode and the place in it. Inodes are counted from one.
    pub fn inode(&self, number: u32) -> (u64, usize) {
        let index = number - 1;
        let within = (index % self.inodes_per_group) as usize * INODE;
        (self.inode_table(index / self.inodes_per_group) + (within / BLOCK) as u64, within % BLOCK)
    }

    /// Everything that is taken, in order.
    pub fn taken(&self) -> Vec<Range<u64>> {
        let mut taken = Vec::new();
        for group in 0..self.groups {
            taken.push(self.head(group));
            let (first, start, count) = self.flex(group);
            if first == group {
                let tables = self.inode_table(group);
                taken.push(start..start + 2 * count);
                taken.push(tables..tables + count * self.table_blocks());
            }
        }
        taken.retain(|range| !range.is_empty());
        taken
    }

    /// Blocks up to the end of what is taken in a group that is the last.
    fn taken_in(&self, group: u32) -> u64 {
        let start = u64::from(group) * GROUP;
        let end = if group.is_multiple_of(FLEX) {
            self.inode_table(group) + self.table_blocks()
        } else {
            self.head(group).end
        };
        end.max(start) - start
    }
}

fn blocks_of_descriptors(groups: u64) -> u64 {
    (groups * DESCRIPTOR as u64).div_ceil(BLOCK as u64)
}

fn is_power(mut number: u32, base: u32) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn nothing_overlaps_and_nothing_is_outside() {
        for mib in [32, 127, 128, 129, 200, 257, 4031, 16 * 128, 16 * 128 + 5, 102_335] {
            let geometry = Geometry::new(mib * MIB, 8192).unwrap();
            let taken = geometry.taken();
            assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{mib} MiB: {taken:?}");
            assert!(taken.last().unwrap().end <= geometry.blocks, "{mib} MiB");
            assert!(geometry.blocks * BLOCK as u64 <= mib * MIB);
            assert!(geometry.group(geometry.groups - 1).start < geometry.blocks, "{mib} MiB");
        }
    }

    /// Sizes around every power of two, and some between them.
    fn sizes() -> impl Iterator<Item = u64> {
        let mut random = fastrand::Rng::with_seed(17);
        let around = (0..64).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + 1, power.saturating_add(power / 2 + 4097)]
        });
        let between: Vec<u64> = (0..200).map(|_| random.u64(..) >> random.u32(..64)).collect();
        around.chain([u64::MAX, 64 << 40, 50 << 20]).chain(between)
    }

    #[test]
    fn every_size_has_a_geometry_or_an_error() {
        for (size, inodes) in
            sizes().flat_map(|size| [8192, 16_384, 28_672, 32_768].map(|inodes| (size, inodes)))
        {
            let geometry = match Geometry::new(size, inodes) {
                Ok(geometry) => geometry,
                Err(NoGeometry::Small(_)) => {
                    assert!(size < 32 * MIB, "{size}");
                    continue;
                }
                Err(NoGeometry::Large(_)) => {
                    assert!(size >= 16 << 40, "{size}");
                    continue;
                }
                Err(NoGeometry::Inodes(groups, each)) => {
                    assert!(groups > 1 && each == 32_768, "{size} {inodes}");
                    continue;
                }
            };
            let taken = geometry.taken();
            assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{size} {inodes}");
            assert!(taken.last().unwrap().end <= geometry.blocks, "{size} {inodes}");
            assert!(geometry.inodes() > 0 && geometry.blocks * BLOCK as u64 <= size, "{size} {inodes}");
        }
    }

    #[test]
    fn what_a_disk_may_have_has_a_geometry() {
        use crate::Role;
        use ibuild_spec::LARGEST_DISK;
        use ibuild_spec::SMALLEST_DISK;
        for size in [SMALLEST_DISK, SMALLEST_DISK + MIB, LARGEST_DISK - MIB, LARGEST_DISK] {
            let root = Role::Root.range(size);
            assert!(Geometry::new(root.end - root.start, 8192).is_ok(), "{size}");
        }
    }

    #[test]
    fn copies_are_where_everybody_looks_for_them() {
        let geometry = Geometry::new(16 << 30, 8192).unwrap();
        let backups: Vec<u32> = geometry.backups().collect();
        assert_eq!(backups, [1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn tables_start_on_grains() {
        let geometry = Geometry::new(5 << 30, 8192).unwrap();
        for group in 0..geometry.groups {
            assert!(geometry.inode_table(group).is_multiple_of(GRAIN_BLOCKS));
        }
        assert_eq!(geometry.inode(257), (geometry.inode_table(0) + GRAIN_BLOCKS, 0));
    }
}
