//! Which grains a disk has, and what each of them is, as a digest of its description.

use ibuild_cache::Encoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CODEC, GRAIN};
use crate::disk::contents::Contents;
use crate::disk::error::DiskError;
use crate::disk::map::{DiskMap, Origin};

/// Changes whenever descriptions are written in another way.
const DOMAIN: &str = "ibuild grain v1";

/// Names a grain: the digest of its description, and of how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrainKey([u8; 32]);

/// A piece of a disk, or a part of one, within a grain.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Its place in [`DiskMap::pieces`].
    piece: usize,
    /// Bytes of the piece that lie before the grain.
    skip: u64,
    /// Its first byte, counted within the grain.
    at: usize,
    /// Its bytes.
    length: usize,
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
    let mut grains: Vec<(u64, Vec<Part>)> = Vec::new();
    for (number, piece) in map.pieces.iter().enumerate() {
        for grain in piece.at / GRAIN..piece.end().div_ceil(GRAIN) {
            let (start, end) = ((grain * GRAIN).max(piece.at), ((grain + 1) * GRAIN).min(piece.end()));
            let part = Part {
                piece: number,
                skip: start - piece.at,
                at: (start % GRAIN) as usize,
                length: (end - start) as usize,
            };
            match grains.last_mut() {
                Some((last, parts)) if *last == grain => parts.push(part),
                _ => grains.push((grain, vec![part])),
            }
        }
    }
    let named = grains.into_par_iter();
    named.map(|(number, parts)| Grain { number, key: key(map, &parts), parts }).collect()
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
    /// Puts the grain's bytes into `out`, which is as long as a grain.
    pub fn read(&self, map: &DiskMap, contents: &Contents<'_>, out: &mut [u8]) -> Result<(), DiskError> {
        out.fill(0);
        for part in &self.parts {
            contents.read(&map.pieces[part.piece], part.skip, &mut out[part.at..part.at + part.length])?;
        }
        Ok(())
    }
}
