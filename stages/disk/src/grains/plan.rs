//! Which grains a disk has, and what each of them is, as a digest of its description.

use ibuild_cache::Encoder;
use rayon::prelude::*;

use super::{CODEC, GRAIN};
use crate::chunks::{Chunk, Part, cut, read_parts};
use crate::disk_reader::DiskReader;
use crate::error::DiskError;
use crate::map::{DiskMap, Origin};
use crate::rows::Row;

/// Changes whenever descriptions are written in another way.
const DOMAIN: &str = "ibuild grain v1";

/// Names a grain: the digest of its description, and of how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrainKey([u8; 32]);

impl Row for GrainKey {
    const LENGTH: usize = 32;

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(row: &[u8]) -> Option<Self> {
        Row::read(row).map(Self)
    }
}

/// A grain that is not empty.
#[derive(Debug, Clone)]
pub struct Grain {
    /// Which of the disk's grains it is.
    pub number: u64,
    /// Its name.
    pub key: GrainKey,
    parts: Vec<Part>,
}

/// The grains of a disk that have something in them, in order.
pub fn plan(map: &DiskMap) -> Vec<Grain> {
    let named = cut(map, GRAIN).into_par_iter();
    named.map(|Chunk { number, parts }| Grain { number, key: key(map, &parts), parts }).collect()
}

fn key(map: &DiskMap, parts: &[Part]) -> GrainKey {
    let mut out = Encoder::new(DOMAIN);
    out.text(CODEC);
    out.sequence(parts.len());
    for part in parts {
        out.number(part.at as i64);
        match &map.pieces[part.piece].origin {
            Origin::Bytes(bytes) => out.bytes(&bytes[part.skip as usize..part.skip as usize + part.length]),
            Origin::File { file, offset, .. } => {
                out.digest(map.files[*file].content.as_bytes());
                out.number((offset + part.skip) as i64);
                out.number(part.length as i64);
            }
        }
    }
    GrainKey(out.hash())
}

impl Grain {
    /// Whether some of it was made up: it belongs to the file system, or the boot loader, and not to a file.
    pub fn is_made_up(&self, map: &DiskMap) -> bool {
        self.parts.iter().any(|part| matches!(map.pieces[part.piece].origin, Origin::Bytes(_)))
    }

    /// Puts the grain's bytes into `out`, which is as long as a grain.
    pub fn read(&self, map: &DiskMap, contents: &DiskReader<'_>, out: &mut [u8]) -> Result<(), DiskError> {
        read_parts(&self.parts, map, contents, out)
    }
}
