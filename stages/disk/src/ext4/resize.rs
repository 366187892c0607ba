//! The inode that owns the room for more descriptors, so that the file system can grow while it is mounted (kernel
//! documentation, "Special inodes"; the blocks are counted as `ext4_resize_fs` and e2fsck expect them).

use super::bytes::{BLOCK, Fields};
use super::geometry::{GROUP, Geometry};
use super::inode::{Inode, REGULAR};

/// Where an inode without extents keeps its doubly indirect block.
const DOUBLE: usize = 13 * 4;
/// Block numbers of a block.
const NUMBERS: u64 = BLOCK as u64 / 4;

/// The inode and its blocks, of which `double` is the one that nothing else fixes.
///
/// The doubly indirect block names the reserved blocks of the first group. Each of those is an indirect block, which
/// names the reserved blocks that copy it in the other groups.
pub fn inode(geometry: &Geometry, double: u64, epoch: i64) -> (Inode, Vec<(u64, Vec<u8>)>) {
    let copies: Vec<u64> = geometry.backups().map(|group| u64::from(group) * GROUP).collect();
    let mut inode = Inode::new(REGULAR | 0o600, epoch);
    inode.size = (NUMBERS * NUMBERS + NUMBERS + 12) * BLOCK as u64;
    inode.blocks = 1 + geometry.reserved * (1 + copies.len() as u64);
    inode.payload.set32(DOUBLE, double as u32);
    let mut made = Vec::new();
    let mut doubly = vec![0; BLOCK];
    for number in geometry.descriptors..geometry.descriptors + geometry.reserved {
        let block = 1 + number;
        doubly.set32((number % NUMBERS) as usize * 4, block as u32);
        let mut indirect = vec![0; BLOCK];
        for (at, copy) in copies.iter().enumerate() {
            indirect.set32(at * 4, (copy + block) as u32);
        }
        made.push((block, indirect));
    }
    made.push((double, doubly));
    (inode, made)
}
