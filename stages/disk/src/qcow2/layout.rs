//! Where everything is in a qcow2, and the tables that say so. All numbers are big endian.

use super::is_compressed;
use crate::grains::{DiskGrain, GRAIN};

/// log2 of a cluster's bytes.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of eight bytes in a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Refcounts of two bytes in a cluster.
const REFCOUNTS: u64 = CLUSTER / 2;
/// log2 of a refcount's bits.
const REFCOUNT_ORDER: u32 = 4;
const HEADER_LENGTH: u32 = 104;
const SECTOR: u64 = 512;
/// "This cluster is used once": the table may be written to without looking at its refcount.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where a compressed cluster's number of further sectors begins in its entry.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);
/// Bytes of a zlib stream before the deflate stream in it (RFC 1950).
const ZLIB_HEAD: u64 = 2;
/// Bytes of a zlib stream behind the deflate stream in it.
const ZLIB_TAIL: u64 = 4;

const _: () = assert!(CLUSTER == GRAIN, "a cluster is a grain");

/// Where everything is.
pub struct Layout {
    size: u64,
    refcount_blocks: u64,
    l1_clusters: u64,
    /// The entry of each cluster of the disk that holds anything, in order.
    entries: Vec<(u64, u64)>,
    /// The bytes of the compressed clusters.
    compressed: Vec<u64>,
    /// The number of other clusters.
    plain: u64,
}

impl Layout {
    /// The layout for a disk of `size` bytes and these grains.
    pub fn of(size: u64, grains: &[DiskGrain]) -> Self {
        let lengths =
            grains.iter().filter(|grain| is_compressed(grain)).map(|grain| u64::from(grain.packed.length));
        let compressed: Vec<u64> = lengths.collect();
        let plain = (grains.len() - compressed.len()) as u64;
        let l1_clusters = l1_entries(size).div_ceil(ENTRIES);
        let mut layout =
            Layout { size, refcount_blocks: 0, l1_clusters, entries: Vec::new(), compressed, plain };
        layout.entries = grains.iter().map(|grain| (grain.number, 0)).collect();
        // More blocks take clusters, which may take another block.
        while layout.refcount_blocks < layout.clusters().div_ceil(REFCOUNTS) {
            layout.refcount_blocks = layout.clusters().div_ceil(REFCOUNTS);
        }
        layout.place(grains);
        layout
    }

    fn place(&mut self, grains: &[DiskGrain]) {
        let (mut compressed, mut plain) = (self.data_start(), self.plain_start());
        for ((_, entry), grain) in self.entries.iter_mut().zip(grains) {
            if is_compressed(grain) {
                let length = u64::from(grain.packed.length);
                *entry = compressed_entry(compressed + ZLIB_HEAD, length - ZLIB_HEAD - ZLIB_TAIL);
                compressed += length;
            } else {
                *entry = plain | COPIED;
                plain += CLUSTER;
            }
        }
    }

    /// The bytes of the whole file.
    pub fn file_size(&self) -> u64 {
        self.clusters() * CLUSTER
    }

    /// Everything before the data.
    pub fn metadata(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.data_start() as usize);
        self.header(&mut bytes);
        let blocks = (0..self.refcount_blocks).map(|block| (2 + block) * CLUSTER);
        cluster_of(&mut bytes, blocks);
        self.refcounts(&mut bytes);
        self.tables(&mut bytes);
        debug_assert_eq!(bytes.len() as u64, self.data_start());
        bytes
    }

    fn header(&self, bytes: &mut Vec<u8>) {
        bytes.extend(b"QFI\xfb");
        bytes.extend(3u32.to_be_bytes());
        // No backing file: its offset and the length of its name.
        bytes.extend([0; 12]);
        bytes.extend(CLUSTER_BITS.to_be_bytes());
        bytes.extend(self.size.to_be_bytes());
        // No encryption.
        bytes.extend(0u32.to_be_bytes());
        bytes.extend((l1_entries(self.size) as u32).to_be_bytes());
        bytes.extend(self.l1_start().to_be_bytes());
        bytes.extend(CLUSTER.to_be_bytes());
        bytes.extend(1u32.to_be_bytes());
        // No snapshots; no features that a reader would have to know.
        bytes.extend([0; 12 + 24]);
        bytes.extend(REFCOUNT_ORDER.to_be_bytes());
        bytes.extend(HEADER_LENGTH.to_be_bytes());
        debug_assert_eq!(bytes.len(), HEADER_LENGTH as usize);
        // The end of the header's extensions is eight zeros.
        bytes.resize(CLUSTER as usize, 0);
    }

    /// How often each cluster of the file is pointed at: once, but for those that compressed clusters share.
    fn refcounts(&self, bytes: &mut Vec<u8>) {
        let mut counts = vec![1u16; self.clusters() as usize];
        let shared = self.data_start() / CLUSTER..self.plain_start() / CLUSTER;
        counts[shared.start as usize..shared.end as usize].fill(0);
        for (_, entry) in self.entries.iter().filter(|(_, entry)| entry & COMPRESSED != 0) {
            let offset = entry & ((1 << SECTORS_SHIFT) - 1);
            let sectors = (entry & !COMPRESSED) >> SECTORS_SHIFT;
            let end = (offset / SECTOR + sectors + 1) * SECTOR;
            for cluster in offset / CLUSTER..end.div_ceil(CLUSTER) {
                counts[cluster as usize] += 1;
            }
        }
        bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        bytes.resize(self.l1_start() as usize, 0);
    }

    /// The L1 table and the L2 tables.
    fn tables(&self, bytes: &mut Vec<u8>) {
        let tables: Vec<_> = self.tables_of_entries().collect();
        let mut l1 = vec![0u64; (self.l1_clusters * ENTRIES) as usize];
        for (place, table) in (0..).zip(&tables) {
            l1[(table[0].0 / ENTRIES) as usize] = (self.l2_start() + place * CLUSTER) | COPIED;
        }
        bytes.extend(l1.iter().flat_map(|entry| entry.to_be_bytes()));
        for table in tables {
            let mut l2 = vec![0u64; ENTRIES as usize];
            for (number, entry) in table {
                l2[(number % ENTRIES) as usize] = *entry;
            }
            cluster_of(bytes, l2.into_iter());
        }
    }

    fn tables_of_entries(&self) -> impl Iterator<Item = &[(u64, u64)]> {
        self.entries.chunk_by(|a, b| a.0 / ENTRIES == b.0 / ENTRIES)
    }

    fn l1_start(&self) -> u64 {
        (2 + self.refcount_blocks) * CLUSTER
    }

    fn l2_start(&self) -> u64 {
        self.l1_start() + self.l1_clusters * CLUSTER
    }

    fn data_start(&self) -> u64 {
        self.l2_start() + self.tables_of_entries().count() as u64 * CLUSTER
    }

    fn plain_start(&self) -> u64 {
        (self.data_start() + self.compressed.iter().sum::<u64>()).next_multiple_of(CLUSTER)
    }

    fn clusters(&self) -> u64 {
        self.plain_start() / CLUSTER + self.plain
    }
}

/// Where a compressed cluster is, and how many sectors it reaches into behind the first.
fn compressed_entry(offset: u64, length: u64) -> u64 {
    let sectors = (offset + length - 1) / SECTOR - offset / SECTOR;
    COMPRESSED | sectors << SECTORS_SHIFT | offset
}

fn l1_entries(size: u64) -> u64 {
    size.div_ceil(CLUSTER * ENTRIES)
}

fn cluster_of(bytes: &mut Vec<u8>, entries: impl Iterator<Item = u64>) {
    let end = bytes.len() + CLUSTER as usize;
    bytes.extend(entries.flat_map(u64::to_be_bytes));
    debug_assert!(bytes.len() <= end);
    bytes.resize(end, 0);
}
