//! Finds or makes the compressed form of every grain of disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::GRAIN;
use super::pack::{PackedGrain, Packs};
use super::plan::{Grain, plan};
use super::squeeze::Squeezer;
use super::stretch::stretched;
use crate::Progress;
use crate::disk_reader::DiskReader;
use crate::error::DiskError;
use crate::map::DiskMap;

/// How many grains are read, compressed and held in memory at once: 32 MiB of disk.
const AT_ONCE: usize = 512;
/// A file may be made of grains from so many packs; beyond that the smallest are put together.
const MOST_PACKS: usize = 16;

/// A grain of a disk whose compressed form is known.
#[derive(Debug, Clone, Copy)]
pub struct DiskGrain {
    /// Which of the disk's grains it is.
    pub number: u64,
    /// Where it is.
    pub packed: PackedGrain,
}

/// The grains of a disk.
#[derive(Debug)]
pub struct DiskGrains {
    /// Those that are not zero, in order.
    pub list: Vec<DiskGrain>,
    /// How many of them had to be compressed.
    pub compressed: u64,
}

/// Collects the grains of disks: those that no pack has are read, compressed and put into the new one. What two of them have
/// is compressed once.
pub fn collect(
    maps: &[&DiskMap],
    packs: &mut Packs,
    progress: Progress<'_>,
) -> Result<Vec<DiskGrains>, DiskError> {
    let wanted: Vec<Vec<Grain>> = maps.iter().map(|map| plan(map)).collect();
    let total = wanted.iter().map(|grains| grains.len() as u64 * GRAIN).sum();
    let dissolved = dissolved(wanted.iter().flatten(), packs);
    let done = AtomicU64::new(0);
    let advance = || progress(done.fetch_add(GRAIN, Ordering::Relaxed) + GRAIN, total);
    let of_one = |(map, grains): (&&DiskMap, &Vec<Grain>)| {
        let source = Source { map, contents: DiskReader::of(map), dissolved: &dissolved, advance: &advance };
        source.collect(grains, packs)
    };
    maps.iter().zip(&wanted).map(of_one).collect()
}

/// The packs that are not worth being kept for what these grains use of them. It is copied out of them: a file that was edited
/// often would otherwise be made of many packs, each with much that nobody needs.
fn dissolved<'g>(grains: impl Iterator<Item = &'g Grain>, packs: &Packs) -> BTreeSet<u32> {
    let mut used: BTreeMap<u32, u64> = BTreeMap::new();
    for grain in grains.filter_map(|grain| packs.find(&grain.key)).filter(|grain| grain.length > 0) {
        *used.entry(grain.pack).or_default() += u64::from(grain.length);
    }
    let is_mostly_waste = |(pack, used): (&u32, &u64)| (used * 2 < packs.pack(*pack).1).then_some(*pack);
    let mut dissolved: BTreeSet<u32> = used.iter().filter_map(is_mostly_waste).collect();
    let mut rest: Vec<(u64, u32)> = used.into_iter().map(|(pack, used)| (used, pack)).collect();
    rest.retain(|(_, pack)| !dissolved.contains(pack));
    if rest.len() > MOST_PACKS {
        rest.sort_unstable();
        dissolved.extend(rest[..rest.len() - MOST_PACKS / 2].iter().map(|(_, pack)| pack));
    }
    dissolved
}

/// What the grains of one disk are made of.
struct Source<'s> {
    map: &'s DiskMap,
    contents: DiskReader<'s>,
    dissolved: &'s BTreeSet<u32>,
    advance: &'s (dyn Fn() + Sync),
}

enum Found {
    Packed(PackedGrain),
    /// Its compressed bytes are to be put into the new pack.
    Loose {
        bytes: Vec<u8>,
        digest: [u8; 32],
        origin: Origin,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Compressed,
    Copied,
}

impl Source<'_> {
    fn collect(&self, wanted: &[Grain], packs: &mut Packs) -> Result<DiskGrains, DiskError> {
        let mut made = DiskGrains { list: Vec::new(), compressed: 0 };
        for some in wanted.chunks(AT_ONCE) {
            packs.check()?;
            let found = self.find_or_compress(some, packs)?;
            for (grain, found) in some.iter().zip(found) {
                let packed = match found {
                    Found::Packed(packed) => packed,
                    Found::Loose { bytes, digest, origin } => {
                        made.compressed += u64::from(origin == Origin::Compressed && !bytes.is_empty());
                        packs.append(grain.key, &bytes, digest)?
                    }
                };
                if packed.length > 0 {
                    made.list.push(DiskGrain { number: grain.number, packed });
                }
            }
        }
        Ok(made)
    }

    fn find_or_compress(&self, grains: &[Grain], packs: &Packs) -> Result<Vec<Found>, DiskError> {
        let one = |reader: &mut Reader, grain: &Grain| {
            let found = match packs.find(&grain.key) {
                Some(packed) if packed.length > 0 && self.dissolved.contains(&packed.pack) => {
                    loose(packs.read(&packed)?, Origin::Copied)
                }
                Some(packed) => Found::Packed(packed),
                None => loose(reader.squeeze(grain, self.map, &self.contents)?, Origin::Compressed),
            };
            (self.advance)();
            Ok(found)
        };
        grains.par_iter().map_init(Reader::new, one).collect()
    }
}

fn loose(bytes: Vec<u8>, origin: Origin) -> Found {
    let digest = *blake3::hash(&bytes).as_bytes();
    Found::Loose { bytes, digest, origin }
}

/// Reads grains and compresses them.
struct Reader {
    squeezer: Squeezer,
    buffer: Vec<u8>,
}

impl Reader {
    fn new() -> Self {
        Self { squeezer: Squeezer::new(), buffer: vec![0; GRAIN as usize] }
    }

    /// A zlib stream; nothing for a grain of zeros. What was made up changes with every edit, so its length comes in steps.
    fn squeeze(
        &mut self,
        grain: &Grain,
        map: &DiskMap,
        contents: &DiskReader<'_>,
    ) -> Result<Vec<u8>, DiskError> {
        grain.read(map, contents, &mut self.buffer)?;
        if self.buffer.iter().all(|&byte| byte == 0) {
            return Ok(Vec::new());
        }
        let zlib = self.squeezer.squeeze(&self.buffer);
        Ok(if grain.is_made_up(map) { stretched(zlib) } else { zlib })
    }
}
