//! Files of compressed grains, one behind the other, in which they can be found again.
//!
//! A pack is a blob of the store like any other, and every grain is checked against its digest when it is read. A pack
//! with a wrong grain is removed, and its grains are compressed again. Whether grains were found or compressed never
//! changes the bytes of an image.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ibuild_cache::{BlobId, Cancel, DropBehind, EagerFile, is_in_memory};
use libdeflater::Decompressor;

use super::GRAIN;
use super::plan::GrainKey;
use crate::error::DiskError;
use crate::rows::Row;

/// A compressed grain in one of several packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedGrain {
    /// Its name.
    pub key: GrainKey,
    /// The place of its pack among the packs.
    pub pack: u32,
    /// The first of its bytes in the pack.
    pub offset: u64,
    /// Their number.
    pub length: u32,
    /// Their digest, which is looked at whenever they are read.
    pub digest: [u8; 32],
}

impl Row for PackedGrain {
    const LENGTH: usize = 80;

    fn write(&self, out: &mut Vec<u8>) {
        self.key.write(out);
        self.digest.write(out);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.pack.to_le_bytes());
    }

    fn read(row: &[u8]) -> Option<Self> {
        let (key, row) = row.split_at_checked(32)?;
        let (digest, row) = row.split_first_chunk()?;
        let (offset, row) = row.split_first_chunk()?;
        let (length, pack) = row.split_first_chunk()?;
        Some(Self {
            key: GrainKey::read(key)?,
            digest: *digest,
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            pack: u32::from_le_bytes(pack.try_into().ok()?),
        })
    }
}

/// Packs, and what is known to be in them. Grains that are in none are added to a new one.
#[derive(Debug)]
pub struct Packs {
    files: Vec<Pack>,
    grains: HashMap<GrainKey, PackedGrain>,
    new: NewPack,
    cancel: Cancel,
}

#[derive(Debug)]
struct Pack {
    id: BlobId,
    file: File,
    size: u64,
    behind: Mutex<Option<DropBehind>>,
}

/// The pack of the grains that no other has, and its place among the packs once there is one.
#[derive(Debug)]
struct NewPack {
    path: PathBuf,
    file: Option<(u32, File)>,
    out: Option<EagerFile>,
    hasher: blake3::Hasher,
    size: u64,
}

/// A pack that has just been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPack {
    /// The file.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub id: BlobId,
    /// Their number.
    pub size: u64,
}

impl Packs {
    /// No packs yet. New grains will be in the file `new`, which is made when there are any.
    pub fn none(new: &Path) -> Self {
        let new =
            NewPack { path: new.to_owned(), file: None, out: None, hasher: blake3::Hasher::new(), size: 0 };
        Self { files: Vec::new(), grains: HashMap::new(), new, cancel: Cancel::default() }
    }

    /// The same for a user who may give up: what is made of them then ends.
    pub fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// An error if it is time to stop.
    pub fn check(&self) -> Result<(), DiskError> {
        self.cancel.check().map_err(DiskError::io("read", &self.new.path))
    }

    /// Adds a pack, and tells its place. One that is here already has that place.
    pub fn add(&mut self, id: BlobId, file: File, size: u64) -> u32 {
        if let Some(place) = self.files.iter().position(|pack| pack.id == id) {
            return place as u32;
        }
        self.files.push(Pack::new(id, file, size));
        self.files.len() as u32 - 1
    }

    /// Notes that grains are in these packs. The first place of each is the one that counts.
    pub fn know(&mut self, grains: impl Iterator<Item = PackedGrain>) {
        self.grains.reserve(grains.size_hint().1.unwrap_or(0));
        for grain in grains {
            self.grains.entry(grain.key).or_insert(grain);
        }
    }

    /// Where a grain is, if it is known.
    pub fn find(&self, key: &GrainKey) -> Option<PackedGrain> {
        self.grains.get(key).copied()
    }

    /// The pack in this place and its bytes.
    pub fn pack(&self, place: u32) -> (BlobId, u64) {
        let pack = &self.files[place as usize];
        (pack.id, pack.size)
    }

    /// The compressed bytes of a grain, if they still are what they were.
    pub fn read(&self, grain: &PackedGrain) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; grain.length as usize];
        self.read_into(grain, &mut bytes)?;
        Ok(bytes)
    }

    /// The same, into `out`, which is as long.
    pub fn read_into(&self, grain: &PackedGrain, out: &mut [u8]) -> Result<(), DiskError> {
        let (file, id) = match &self.new.file {
            Some((place, file)) if *place == grain.pack => (file, None),
            _ => {
                let pack = &self.files[grain.pack as usize];
                (&pack.file, Some(pack.id))
            }
        };
        let read = file.read_exact_at(out, grain.offset);
        if read.is_ok() && *blake3::hash(out).as_bytes() == grain.digest {
            return Ok(());
        }
        Err(id.map_or_else(|| lost(&self.new.path), |pack| DiskError::DamagedPack { pack }))
    }

    /// These grains have been read, and are not wanted again soon.
    pub fn passed<'g>(&self, grains: impl Iterator<Item = &'g PackedGrain>) {
        for grain in grains {
            let Some(pack) = self.files.get(grain.pack as usize) else { continue };
            if let Some(behind) = &mut *pack.behind.lock().expect("no panic while held") {
                behind.passed(&pack.file, grain.offset..grain.offset + u64::from(grain.length));
            }
        }
    }

    /// The bytes of a grain as they are on the disk.
    pub fn content(&self, grain: &PackedGrain) -> Result<Vec<u8>, DiskError> {
        let (zlib, mut bytes) = (self.read(grain)?, vec![0; GRAIN as usize]);
        let length = Decompressor::new().zlib_decompress(&zlib, &mut bytes);
        assert_eq!(length.ok(), Some(bytes.len()), "what has its digest is a whole grain");
        Ok(bytes)
    }

    /// Puts a grain into the new pack. One of zeros has no bytes, and is known without being anywhere.
    pub fn append(
        &mut self,
        key: GrainKey,
        bytes: &[u8],
        digest: [u8; 32],
    ) -> Result<PackedGrain, DiskError> {
        let pack = if bytes.is_empty() { 0 } else { self.new_place()? };
        let grain = PackedGrain { key, pack, offset: self.new.size, length: bytes.len() as u32, digest };
        self.new.write(bytes)?;
        self.grains.insert(key, grain);
        Ok(grain)
    }

    /// No pack is added after the new one has begun: it would have its place.
    fn new_place(&mut self) -> Result<u32, DiskError> {
        if let Some((place, _)) = self.new.file {
            return Ok(place);
        }
        let place = self.files.len() as u32;
        self.new.begin(place)?;
        Ok(place)
    }

    /// The new pack, if any grain was added. It can still be read from.
    pub fn finish_new(&mut self) -> Option<FinishedPack> {
        let (place, file) = self.new.file.take()?;
        let (id, size) = (BlobId::from_bytes(*self.new.hasher.finalize().as_bytes()), self.new.size);
        assert_eq!(place as usize, self.files.len(), "the new pack is the last");
        self.files.push(Pack::new(id, file, size));
        Some(FinishedPack { path: self.new.path.clone(), id, size })
    }
}

impl Pack {
    fn new(id: BlobId, file: File, size: u64) -> Self {
        let behind = (!is_in_memory(&file, size)).then(DropBehind::default);
        Self { id, file, size, behind: Mutex::new(behind) }
    }
}

impl NewPack {
    fn begin(&mut self, place: u32) -> Result<(), DiskError> {
        let create = DiskError::io("create", &self.path);
        let file = File::options().read(true).write(true).create_new(true).open(&self.path);
        let (file, out) = file.and_then(|file| Ok((file.try_clone()?, file))).map_err(create)?;
        self.out = Some(EagerFile::new(out));
        self.file = Some((place, file));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        use std::io::Write;
        let Some(out) = &mut self.out else { return Ok(()) };
        out.write_all(bytes).map_err(DiskError::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn lost(path: &Path) -> DiskError {
    let changed = std::io::Error::other("it is not what was written a moment ago");
    DiskError::io("read", path)(changed)
}
