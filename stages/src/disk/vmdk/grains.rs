//! Where the grains of a raw disk come from: read around its holes, compressed in parallel.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;

use super::GRAIN;
use super::format::TABLE_ENTRIES;

/// A grain that is not zero, compressed.
#[derive(Debug)]
pub struct Grain {
    /// Its entry in its table.
    pub slot: usize,
    /// A zlib stream (RFC 1950).
    pub zlib: Vec<u8>,
}

/// The grains of one table, in order.
#[derive(Debug)]
pub struct Table {
    /// Its entry in the directory.
    pub index: usize,
    /// Its grains, without those that are zero.
    pub grains: Vec<Grain>,
    /// Bytes of disk that were read for it.
    pub read: u64,
}

/// A raw disk, and which of its grains may hold anything.
pub struct GrainSource {
    file: File,
    level: CompressionLvl,
    /// Numbers of grains, in order, grouped by their table.
    tables: Vec<Vec<u64>>,
}

impl GrainSource {
    /// A source that reads the grains touched by `ranges`, which are in order.
    pub fn new(file: File, ranges: &[Range<u64>], level: i32) -> Self {
        let level = CompressionLvl::new(level).expect("the level is a constant that libdeflate has");
        let mut numbers: Vec<u64> =
            ranges.iter().flat_map(|range| range.start / GRAIN..range.end.div_ceil(GRAIN)).collect();
        numbers.dedup();
        let same_table = |a: &u64, b: &u64| a / TABLE_ENTRIES == b / TABLE_ENTRIES;
        let tables = numbers.chunk_by(same_table).map(<[u64]>::to_vec).collect();
        GrainSource { file, level, tables }
    }

    /// Bytes of disk that will be read.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.len() as u64 * GRAIN).sum()
    }

    /// The tables to be compressed, each by the numbers of its grains.
    pub fn tables(&self) -> impl Iterator<Item = &[u64]> {
        self.tables.iter().map(Vec::as_slice)
    }

    /// Reads and compresses the grains of one table.
    pub fn compress(&self, numbers: &[u64]) -> io::Result<Table> {
        let worker = || (Compressor::new(self.level), vec![0; GRAIN as usize]);
        let grains = numbers
            .par_iter()
            .map_init(worker, |(compressor, buffer), &number| self.grain(compressor, buffer, number))
            .filter_map(Result::transpose)
            .collect::<io::Result<Vec<Grain>>>()?;
        Ok(Table { index: (numbers[0] / TABLE_ENTRIES) as usize, grains, read: numbers.len() as u64 * GRAIN })
    }

    fn grain(
        &self,
        compressor: &mut Compressor,
        buffer: &mut [u8],
        number: u64,
    ) -> io::Result<Option<Grain>> {
        self.file.read_exact_at(buffer, number * GRAIN)?;
        if buffer.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let mut zlib = vec![0; compressor.zlib_compress_bound(buffer.len())];
        let length = compressor.zlib_compress(buffer, &mut zlib).expect("the buffer has the bound's size");
        zlib.truncate(length);
        zlib.shrink_to_fit();
        Ok(Some(Grain { slot: (number % TABLE_ENTRIES) as usize, zlib }))
    }
}
