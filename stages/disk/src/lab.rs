//! What tests of several formats need: grains in packs, and files of them.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ibuild_cache::BlobId;

use super::compose::compose_file;
use super::digest::Digested;
use super::grains::{DiskGrains, PackedGrain, Packs, collect};
use super::map::{ContentFile, DiskMap, Origin, Piece};
use super::qcow2::qcow2;
use super::rope::Rope;
use super::spec::DiskSpec;
use super::vmdk::vmdk;

/// A directory of packs.
pub struct Bench {
    pub dir: tempfile::TempDir,
    count: AtomicU32,
}

/// A pack that was finished, and what is in it.
#[derive(Debug, Clone)]
pub struct OldPack {
    pub path: PathBuf,
    pub id: BlobId,
    pub size: u64,
    pub grains: Vec<PackedGrain>,
}

impl Bench {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir_in("/var/tmp").unwrap(), count: AtomicU32::new(0) }
    }

    /// A disk with files of these bytes in these places.
    pub fn files(&self, size: u64, files: &[(u64, &[u8])]) -> DiskMap {
        let file = |(number, (_, bytes)): (usize, &(u64, &[u8]))| {
            let place = self.dir.path().join(format!("file-{number}"));
            std::fs::write(&place, bytes).unwrap();
            let content = BlobId::from_bytes(*blake3::hash(bytes).as_bytes());
            ContentFile { content, size: bytes.len() as u64, place: place.into() }
        };
        let piece = |(file, (at, bytes)): (usize, &(u64, &[u8]))| {
            let origin = Origin::File { file, offset: 0, length: bytes.len() as u64 };
            Piece { at: *at, origin }
        };
        let pieces = files.iter().enumerate().map(piece).collect();
        DiskMap::new(size, pieces, files.iter().enumerate().map(file).collect())
    }

    /// Packs with these in them, and a new one.
    pub fn packs(&self, old: &[OldPack]) -> Packs {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut packs = Packs::none(&self.dir.path().join(format!("pack-{number}")));
        for pack in old {
            let place = packs.add(pack.id, File::open(&pack.path).unwrap(), pack.size);
            packs.know(pack.grains.iter().map(|grain| PackedGrain { pack: place, ..*grain }));
        }
        packs
    }

    pub fn collect(&self, map: &DiskMap, packs: &mut Packs) -> DiskGrains {
        collect(&[map], packs, &|_, _| {}).unwrap().remove(0)
    }

    /// The disk as VMDK, and the pack with what is new.
    pub fn pack(&self, map: &DiskMap) -> OldPack {
        let mut packs = self.packs(&[]);
        let grains = self.collect(map, &mut packs);
        let made = packs.finish_new().unwrap();
        let grains = grains.list.iter().map(|grain| grain.packed).collect();
        OldPack { path: made.path, id: made.id, size: made.size, grains }
    }

    pub fn rope(&self, spec: &DiskSpec, map: &DiskMap) -> Rope {
        let mut packs = self.packs(&[]);
        vmdk(spec, &self.collect(map, &mut packs)).unwrap()
    }

    pub fn vmdk(&self, spec: &DiskSpec, map: &DiskMap) -> Vec<u8> {
        let mut packs = self.packs(&[]);
        let rope = vmdk(spec, &self.collect(map, &mut packs)).unwrap();
        bytes_of(&rope, &packs)
    }

    pub fn qcow2(&self, spec: &DiskSpec, map: &DiskMap) -> Vec<u8> {
        let mut packs = self.packs(&[]);
        let rope = qcow2(spec, &self.collect(map, &mut packs));
        bytes_of(&rope, &packs)
    }
}

/// The bytes of a rope.
pub fn bytes_of(rope: &Rope, packs: &Packs) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (digested, _) = compose_file(rope, packs, file.path()).unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!((digested.size, digested), (rope.size(), Digested::of_bytes(&bytes)));
    bytes
}
