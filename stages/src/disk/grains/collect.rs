//! Finds or makes the compressed form of every grain of a disk.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libdeflater::Decompressor;
use rayon::prelude::*;

use super::GRAIN;
use super::pack::{self, Kept, Pack};
use super::plan::{Grain, GrainKey, plan};
use super::squeeze::Squeezer;
use crate::disk::Progress;
use crate::disk::contents::Contents;
use crate::disk::error::DiskError;
use crate::disk::map::DiskMap;

/// How many grains are read, compressed and held in memory at once: 32 MiB of disk.
const AT_ONCE: usize = 512;

/// A grain whose compressed form is known. Its length is zero if all its bytes are.
#[derive(Debug, Clone)]
pub struct Collected {
    grain: Grain,
    place: Place,
    kept: Kept,
}

impl Collected {
    /// Which of the disk's grains it is.
    pub fn number(&self) -> u64 {
        self.grain.number
    }

    /// Its name.
    pub fn key(&self) -> GrainKey {
        self.grain.key
    }

    /// The number of its compressed bytes; zero for a grain of zeros.
    pub fn length(&self) -> u32 {
        self.kept.length
    }

    /// The digest of its compressed bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.kept.digest
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Among those that were compressed now.
    New,
    /// In the pack with this number.
    Old(usize),
}

/// Grains that were compressed because no pack had them, in a nameless file. Disks of one OVA share one: what two of them
/// have is compressed once.
#[derive(Debug)]
pub struct NewGrains {
    file: Arc<File>,
    dir: PathBuf,
    end: u64,
    known: HashMap<GrainKey, Kept>,
}

impl NewGrains {
    /// None so far; they will be in a file in `dir`.
    pub fn none(dir: &Path) -> Result<Self, DiskError> {
        let file = tempfile::tempfile_in(dir).map_err(DiskError::io("make a scratch file in", dir))?;
        Ok(Self { file: Arc::new(file), dir: dir.to_owned(), end: 0, known: HashMap::new() })
    }

    fn keep(&mut self, key: GrainKey, bytes: &[u8], digest: [u8; 32]) -> Result<Kept, DiskError> {
        let write = DiskError::io("write a scratch file in", &self.dir);
        self.file.write_all_at(bytes, self.end).map_err(write)?;
        let kept = Kept { offset: self.end, length: bytes.len() as u32, digest };
        self.end += bytes.len() as u64;
        self.known.insert(key, kept);
        Ok(kept)
    }
}

/// All grains of a disk.
pub struct Grains<'m> {
    map: &'m DiskMap,
    contents: Contents<'m>,
    packs: &'m [Pack],
    new: Arc<File>,
    /// The grains that are not empty, in order.
    pub list: Vec<Collected>,
    /// How many of them had to be compressed. Those of zeros are not.
    pub compressed: u64,
}

impl<'m> Grains<'m> {
    /// Collects the grains of the disk: those that no pack has are read, compressed and added to the new ones.
    pub fn collect(
        map: &'m DiskMap,
        packs: &'m [Pack],
        new: &mut NewGrains,
        progress: Progress<'_>,
    ) -> Result<Self, DiskError> {
        let contents = Contents::of(map);
        let mut made = Self { map, contents, packs, new: new.file.clone(), list: Vec::new(), compressed: 0 };
        let (done, wanted) = (AtomicU64::new(0), plan(map));
        let total = wanted.len() as u64 * GRAIN;
        for some in wanted.chunks(AT_ONCE) {
            let found = made.find_or_compress(some, new, &|| {
                progress(done.fetch_add(GRAIN, Ordering::Relaxed) + GRAIN, total);
            })?;
            for (grain, found) in some.iter().zip(found) {
                let (place, kept) = match found {
                    Found::Kept(place, kept) => (place, kept),
                    Found::Made { bytes, digest, read } => {
                        made.compressed += u64::from(read && !bytes.is_empty());
                        (Place::New, new.keep(grain.key, &bytes, digest)?)
                    }
                };
                made.list.push(Collected { grain: grain.clone(), place, kept });
            }
        }
        Ok(made)
    }

    fn find_or_compress(
        &self,
        grains: &[Grain],
        new: &NewGrains,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Found>, DiskError> {
        let one = |reader: &mut Reader, grain: &Grain| {
            let found = match self.find(&grain.key, new) {
                Some((place, kept)) => Found::Kept(place, kept),
                None => self.make(reader, grain)?,
            };
            done();
            Ok(found)
        };
        grains.par_iter().map_init(Reader::new, one).collect()
    }

    /// What cannot be compressed may be in a pack as it is. That is no work, and spares reading the files that it comes from.
    fn make(&self, reader: &mut Reader, grain: &Grain) -> Result<Found, DiskError> {
        let key = grain.key.plain();
        let plain = self.packs.iter().find_map(|pack| pack.read(&pack.find(&key)?));
        let bytes = match &plain {
            Some(content) => reader.squeezer.squeeze(content),
            None => reader.squeeze(grain, self.map, &self.contents)?,
        };
        let digest = *blake3::hash(&bytes).as_bytes();
        Ok(Found::Made { bytes, digest, read: plain.is_none() })
    }

    fn find(&self, key: &GrainKey, new: &NewGrains) -> Option<(Place, Kept)> {
        if let Some(kept) = new.known.get(key) {
            return Some((Place::New, *kept));
        }
        self.packs.iter().enumerate().find_map(|(n, pack)| Some((Place::Old(n), pack.find(key)?)))
    }

    /// The compressed bytes of a grain. One that its pack has lost is made again.
    pub fn read(&self, collected: &Collected) -> Result<Vec<u8>, DiskError> {
        let found = match collected.place {
            Place::New => pack::read(&self.new, &collected.kept),
            Place::Old(pack) => self.packs[pack].read(&collected.kept),
        };
        if let Some(bytes) = found {
            return Ok(bytes);
        }
        let bytes = Reader::new().squeeze(&collected.grain, self.map, &self.contents)?;
        if *blake3::hash(&bytes).as_bytes() == collected.kept.digest {
            return Ok(bytes);
        }
        Err(DiskError::LostGrain { number: collected.number() })
    }
}

impl Grains<'_> {
    /// The bytes of a grain as they are on the disk. They are taken out of its compressed form: what that was made of is not
    /// read again.
    pub fn content(&self, collected: &Collected) -> Result<Vec<u8>, DiskError> {
        let (zlib, mut bytes) = (self.read(collected)?, vec![0; GRAIN as usize]);
        let length = Decompressor::new().zlib_decompress(&zlib, &mut bytes);
        assert_eq!(length.ok(), Some(bytes.len()), "what has its digest is a whole grain");
        Ok(bytes)
    }
}

enum Found {
    Kept(Place, Kept),
    /// Compressed now, of what was read from files or of what a pack has.
    Made {
        bytes: Vec<u8>,
        digest: [u8; 32],
        read: bool,
    },
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

    /// A zlib stream; nothing for a grain of zeros.
    fn squeeze(
        &mut self,
        grain: &Grain,
        map: &DiskMap,
        contents: &Contents<'_>,
    ) -> Result<Vec<u8>, DiskError> {
        grain.read(map, contents, &mut self.buffer)?;
        if self.buffer.iter().all(|&byte| byte == 0) {
            return Ok(Vec::new());
        }
        Ok(self.squeezer.squeeze(&self.buffer))
    }
}
