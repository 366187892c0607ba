//! What every file system has, whatever is in it: journal, the inode that lets it grow, superblocks.

use super::bytes::BLOCK;
use super::crc::Seed;
use super::extents::{self, Extent};
use super::geometry::{GROUP, Geometry};
use super::inode::{EXTENTS, Inode, REGULAR};
use super::space::{Full, Space, Supply};
use super::superblock::{self, Counts, FIRST_INODE, Journal, superblock};
use super::usage::Usage;
use super::write::Writer;
use super::{FilesystemOptions, JOURNAL_INODE, journal, resize};

/// Inodes before the first that files may have.
pub const RESERVED_INODES: u32 = FIRST_INODE - 1;
const RESIZE_INODE: u32 = 7;

/// Where these things are.
#[derive(Debug)]
pub struct Base {
    journal: Vec<Extent>,
    journal_index: Vec<u64>,
    resize: u64,
}

impl Base {
    /// Takes the first blocks.
    pub fn place(geometry: &Geometry, space: &mut Space) -> Result<Self, Full> {
        let blocks = journal::blocks(geometry.blocks);
        let journal = mapped(blocks, &mut space.take(blocks)?);
        let tree = extents::blocks_needed(journal.len());
        let mut supply = space.take(1 + tree as u64)?;
        let resize = supply.one();
        let journal_index = (0..tree).map(|_| supply.one()).collect();
        Ok(Self { journal, journal_index, resize })
    }

    /// Writes these things, but for the superblocks.
    pub fn write(&self, options: &FilesystemOptions, geometry: &Geometry, to: &mut Writer<'_>) -> Journal {
        let (inode, blocks) = resize::inode(geometry, self.resize, options.epoch);
        to.inode(RESIZE_INODE, &inode);
        blocks.into_iter().for_each(|(place, bytes)| to.block(place, bytes));
        self.write_journal(options, geometry, to)
    }

    fn write_journal(
        &self,
        options: &FilesystemOptions,
        geometry: &Geometry,
        to: &mut Writer<'_>,
    ) -> Journal {
        let blocks = journal::blocks(geometry.blocks);
        let mut inode = Inode::new(REGULAR | 0o600, options.epoch);
        inode.flags = EXTENTS;
        inode.size = blocks * BLOCK as u64;
        inode.blocks = blocks + self.journal_index.len() as u64;
        inode.payload = to.extents(JOURNAL_INODE, &self.journal, &self.journal_index);
        to.inode(JOURNAL_INODE, &inode);
        to.block(self.journal[0].physical, journal::first_block(blocks, options.uuid));
        Journal { payload: inode.payload, size: inode.size }
    }
}

fn mapped(blocks: u64, supply: &mut Supply) -> Vec<Extent> {
    let (mut made, mut logical) = (Vec::new(), 0);
    for piece in supply.next(blocks) {
        let length = (piece.end - piece.start) as u32;
        extents::append(&mut made, logical, piece.start, length);
        logical += length;
    }
    made
}

/// Writes superblocks, descriptors and bitmaps.
///
/// The copies tell of an empty file system, as those of every file system do that was filled after it was made: nobody
/// brings them up to date, and whoever needs one counts again. So they stay the same whatever is on the disk.
pub fn write_groups(
    options: &FilesystemOptions,
    geometry: &Geometry,
    empty: &Usage,
    journal: &Journal,
    to: &mut Writer<'_>,
) {
    let seed = Seed::of(options.uuid);
    let of = |usage: &Usage, group| {
        let counts = Counts { blocks: usage.free_blocks(geometry), inodes: usage.free_inodes(geometry) };
        superblock(options, geometry, counts, journal, group)
    };
    let (descriptors, bitmaps) = to.usage().describe(geometry, seed);
    let first = of(to.usage(), 0);
    let mut head = vec![0; superblock::SUPERBLOCK];
    head.extend(first);
    head.resize(BLOCK, 0);
    put(to, 0, [head, descriptors]);
    bitmaps.into_iter().for_each(|(place, bytes)| to.bytes(place * BLOCK as u64, bytes));
    let (descriptors, _) = empty.describe(geometry, seed);
    for group in geometry.backups() {
        let mut head = of(empty, group);
        head.resize(BLOCK, 0);
        put(to, u64::from(group) * GROUP, [head, descriptors.clone()]);
    }
}

fn put(to: &mut Writer<'_>, start: u64, parts: [Vec<u8>; 2]) {
    for (block, bytes) in parts.concat().chunks(BLOCK).enumerate() {
        to.bytes((start + block as u64) * BLOCK as u64, bytes.to_vec());
    }
}
