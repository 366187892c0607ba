//! The journal: empty, so that its first block says all (kernel documentation, "Journal (jbd2)").

use uuid::Uuid;

use super::bytes::BLOCK;

const MAGIC: u32 = 0xc03b_3998;
const SUPERBLOCK_V2: u32 = 4;

/// Blocks of the journal of a file system with so many blocks: the sizes that `mke2fs` chooses.
pub fn blocks(of: u64) -> u64 {
    match of {
        0..0x8000 => 1024,
        0x8000..0x4_0000 => 4096,
        0x4_0000..0x8_0000 => 8192,
        0x8_0000..0x40_0000 => 16_384,
        0x40_0000..0x80_0000 => 32_768,
        0x80_0000..0x100_0000 => 65_536,
        0x100_0000..0x200_0000 => 131_072,
        _ => 262_144,
    }
}

/// The first block of a journal. Its numbers have the other byte order.
pub fn first_block(blocks: u64, uuid: Uuid) -> Vec<u8> {
    let mut out = vec![0; BLOCK];
    let fields = [
        (0x00, MAGIC),
        (0x04, SUPERBLOCK_V2),
        (0x0c, BLOCK as u32),
        (0x10, blocks as u32),
        (0x14, 1),
        (0x18, 1),
        (0x40, 1),
    ];
    for (at, value) in fields {
        out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    out[0x30..0x40].copy_from_slice(uuid.as_bytes());
    out
}
