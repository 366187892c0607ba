//! The superblock (kernel documentation, "Super Block").

use super::bytes::{BLOCK, Fields, halves};
use super::crc::crc32c;
use super::geometry::{DESCRIPTOR, FLEX_BITS, GROUP, Geometry};
use super::inode::INODE;
use super::{FilesystemOptions, JOURNAL_INODE};

/// Bytes of it.
pub const SUPERBLOCK: usize = 1024;
/// The first inode that files may have.
pub const FIRST_INODE: u32 = 11;

/// Journal, attributes, descriptors can grow, directories as trees.
const COMPATIBLE: u32 = 0x04 | 0x08 | 0x10 | 0x20;
/// Types in directories, extents, 64-bit block numbers, groups that share places.
const INCOMPATIBLE: u32 = 0x02 | 0x40 | 0x80 | 0x200;
/// Few superblocks, large files, huge files, many subdirectories, large inodes, check sums everywhere.
const READ_ONLY_COMPATIBLE: u32 = 0x01 | 0x02 | 0x08 | 0x20 | 0x40 | 0x400;
const HALF_MD4: u8 = 1;
/// Characters of names count as unsigned in the hash.
const UNSIGNED_HASH: u32 = 2;
/// Attributes of users, ACLs.
const MOUNT_OPTIONS: u32 = 0x04 | 0x08;
/// Blocks that only the superuser may fill, in percent.
const RESERVED_PERCENT: u64 = 5;

/// What a superblock says that the geometry does not.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Free blocks.
    pub blocks: u64,
    /// Free inodes.
    pub inodes: u32,
}

/// The copy of the superblock in a group. `journal` is what the journal's inode says where its blocks are.
pub fn superblock(
    options: &FilesystemOptions,
    geometry: &Geometry,
    free: Counts,
    journal: &Journal,
    group: u32,
) -> Vec<u8> {
    let mut out = vec![0; SUPERBLOCK];
    set_sizes(&mut out, geometry, free);
    set_identity(&mut out, options);
    out.set16(0x5a, group as u16);
    out.set32(0xe0, JOURNAL_INODE);
    out[0xfd] = 1;
    out[0x10c..0x148].copy_from_slice(&journal.payload);
    let (low, high) = halves(journal.size);
    out.set32(0x148, high);
    out.set32(0x14c, low);
    let sum = crc32c(u32::MAX, &out[..0x3fc]);
    out.set32(0x3fc, sum);
    out
}

/// Where the journal is, for the case that its inode is lost.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Its extents.
    pub payload: [u8; 60],
    /// Its bytes.
    pub size: u64,
}

fn set_sizes(out: &mut [u8], geometry: &Geometry, free: Counts) {
    let mut set = |at, at_high, value| {
        let (low, high) = halves(value);
        out.set32(at, low);
        out.set32(at_high, high);
    };
    set(0x04, 0x150, geometry.blocks);
    set(0x08, 0x154, geometry.blocks * RESERVED_PERCENT / 100);
    set(0x0c, 0x158, free.blocks);
    out.set32(0x00, geometry.inodes());
    out.set32(0x10, free.inodes);
    let log_size = (BLOCK / 1024).trailing_zeros();
    out.set32(0x18, log_size);
    out.set32(0x1c, log_size);
    out.set32(0x20, GROUP as u32);
    out.set32(0x24, GROUP as u32);
    out.set32(0x28, geometry.inodes_per_group);
    out.set16(0xce, geometry.reserved as u16);
    out.set16(0xfe, DESCRIPTOR as u16);
    out[0x174] = FLEX_BITS;
}

fn set_identity(out: &mut [u8], options: &FilesystemOptions) {
    let time = options.epoch as u32;
    out.set32(0x30, time);
    out.set16(0x36, u16::MAX);
    out.set16(0x38, 0xef53);
    out.set16(0x3a, 1);
    out.set16(0x3c, 1);
    out.set32(0x40, time);
    out.set32(0x4c, 1);
    out.set32(0x54, FIRST_INODE);
    out.set16(0x58, INODE as u16);
    out.set32(0x5c, COMPATIBLE);
    out.set32(0x60, INCOMPATIBLE);
    out.set32(0x64, READ_ONLY_COMPATIBLE);
    out[0x68..0x78].copy_from_slice(options.uuid.as_bytes());
    out[0xec..0xfc].copy_from_slice(options.hash_seed.as_bytes());
    out[0xfc] = HALF_MD4;
    out.set32(0x100, MOUNT_OPTIONS);
    out.set32(0x108, time);
    out.set16(0x15c, 32);
    out.set16(0x15e, 32);
    out.set32(0x160, UNSIGNED_HASH);
    out[0x175] = 1;
}
