//! Grains are named by what they hold, taken from packs that have them, and never believed.

use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::BlobId;

use super::*;
use crate::error::DiskError;
use crate::lab::{Bench, OldPack, bytes_of};
use crate::map::{ContentFile, DiskMap, Origin, Piece};
use crate::spec::DiskSpec;
use crate::vmdk::vmdk;
use ibuild_spec::MIB;

const SIZE: u64 = 100 * MIB;

/// A disk of some text and a file of 300,000 bytes.
fn disk(dir: &Path, text: &str) -> DiskMap {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let place = dir.join("file");
    std::fs::write(&place, &bytes).unwrap();
    let content = BlobId::from_bytes(*blake3::hash(&bytes).as_bytes());
    let file = ContentFile { content, size: bytes.len() as u64, place: place.into() };
    let pieces = vec![
        Piece { at: 5 * MIB + 100, origin: Origin::Bytes(text.as_bytes().to_vec()) },
        Piece { at: 8 * MIB, origin: Origin::File { file: 0, offset: 0, length: 300_000 } },
    ];
    DiskMap::new(SIZE, pieces, vec![file])
}

struct Vmdk {
    bytes: Vec<u8>,
    compressed: u64,
    new: Option<FinishedPack>,
}

fn spec() -> DiskSpec {
    DiskSpec::new("lab", SIZE, 0)
}

fn vmdk_with(bench: &Bench, map: &DiskMap, old: &[OldPack]) -> Vmdk {
    let mut packs = bench.packs(old);
    let grains = bench.collect(map, &mut packs);
    let new = packs.finish_new();
    let bytes = bytes_of(&vmdk(&spec(), &grains).unwrap(), &packs);
    Vmdk { bytes, compressed: grains.compressed, new }
}

#[test]
fn only_what_changed_is_compressed_and_the_bytes_are_the_same() {
    let bench = Bench::new();
    let map = disk(bench.dir.path(), "one");
    let old = bench.pack(&map);
    assert_eq!(old.grains.len(), 1 + 5);
    let changed = disk(bench.dir.path(), "two");
    let warm = vmdk_with(&bench, &changed, &[old]);
    assert_eq!(warm.compressed, 1);
    assert!(warm.bytes == bench.vmdk(&spec(), &changed) && warm.bytes != bench.vmdk(&spec(), &map));
}

#[test]
fn what_is_known_is_not_read() {
    let bench = Bench::new();
    let map = disk(bench.dir.path(), "one");
    let (old, first) = (bench.pack(&map), bench.vmdk(&spec(), &map));
    std::fs::remove_file(bench.dir.path().join("file")).unwrap();
    let again = vmdk_with(&bench, &map, &[old]);
    assert_eq!((again.compressed, again.new), (0, None));
    assert!(again.bytes == first);
}

#[test]
fn a_damaged_grain_names_its_pack() {
    let bench = Bench::new();
    let map = disk(bench.dir.path(), "one");
    let old = bench.pack(&map);
    let (whole, file) =
        (std::fs::read(&old.path).unwrap(), std::fs::File::options().write(true).open(&old.path));
    let (file, mut packs) = (file.unwrap(), bench.packs(std::slice::from_ref(&old)));
    let grains = bench.collect(&map, &mut packs).list;
    for grain in &grains {
        file.write_all_at(b"?!", grain.packed.offset + 9).unwrap();
        let error = packs.read(&grain.packed).unwrap_err();
        assert!(matches!(error, DiskError::DamagedPack { pack } if pack == old.id), "{error}");
        file.write_all_at(&whole, 0).unwrap();
        packs.read(&grain.packed).unwrap();
    }
    file.set_len(1000).unwrap();
    assert!(packs.read(&grains[5].packed).is_err());
}

/// A pack with one grain of use among ten, whose content is copied out of it; and one that is all of use.
#[test]
fn a_pack_that_is_mostly_waste_is_dissolved() {
    let bench = Bench::new();
    let many = |from: u8, count: u64| {
        let noise = |n: u64| [from.wrapping_add(n as u8).wrapping_mul(37); 60_000];
        let bytes: Vec<_> = (0..count).map(|n| (n * MIB, noise(n))).collect();
        DiskMap::of_bytes(SIZE, bytes.iter().map(|(at, bytes)| (*at, &bytes[..])))
    };
    let (first, second) = (bench.pack(&many(1, 10)), bench.pack(&many(101, 2)));
    let wanted: Vec<_> = [&many(1, 1), &many(101, 2)]
        .into_iter()
        .zip([0, 50 * MIB])
        .flat_map(|(map, by)| {
            map.pieces.iter().map(move |piece| Piece { at: piece.at + by, ..piece.clone() })
        })
        .collect();
    let map = DiskMap::new(SIZE, wanted, Vec::new());
    let mut packs = bench.packs(&[first, second.clone()]);
    let grains = bench.collect(&map, &mut packs);
    assert_eq!(grains.compressed, 0);
    let new = packs.finish_new().unwrap();
    let used: Vec<BlobId> = grains.list.iter().map(|grain| packs.pack(grain.packed.pack).0).collect();
    assert_eq!(used, [new.id, second.id, second.id]);
    assert!(bytes_of(&vmdk(&spec(), &grains).unwrap(), &packs) == bench.vmdk(&spec(), &map));
}

#[test]
fn a_disk_is_made_of_few_packs() {
    let bench = Bench::new();
    let map = |n: u64| DiskMap::of_bytes(SIZE, [(n * MIB, format!("pack {n}").as_bytes())]);
    let old: Vec<OldPack> = (0..17).map(|n| bench.pack(&map(n))).collect();
    let all = DiskMap::new(SIZE, (0..17).flat_map(|n| map(n).pieces).collect(), Vec::new());
    let packs_of = |old: &[OldPack]| {
        let mut packs = bench.packs(old);
        let grains = bench.collect(&all, &mut packs);
        grains.list.iter().map(|grain| grain.packed.pack).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(packs_of(&old), 8 + 1);
    assert_eq!(packs_of(&old[..16]), 16 + 1);
}

#[test]
fn names_cover_what_a_grain_holds_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let map = disk(dir.path(), "one");
    let keys = |map: &DiskMap| plan(map).iter().map(|grain| grain.key).collect::<Vec<_>>();
    let before = keys(&map);
    let edits: [fn(&mut DiskMap); 4] = [
        |map| map.pieces[0].at += 1,
        |map| map.pieces[0].origin = Origin::Bytes(b"onE".to_vec()),
        |map| map.pieces[1].origin = Origin::File { file: 0, offset: 1, length: 10 },
        |map| map.files[0].content = BlobId::from_bytes([0; 32]),
    ];
    for edit in edits {
        let mut other = map.clone();
        edit(&mut other);
        assert_ne!(keys(&other), before);
    }
    // Moved by whole grains, they are the same.
    let mut moved = map.clone();
    moved.pieces[1].at += 3 * GRAIN;
    moved.files[0].place = Path::new("/elsewhere").into();
    assert_eq!(keys(&moved), before);
}

#[test]
fn a_file_of_zeros_has_no_grains() {
    let bench = Bench::new();
    let zeros = DiskMap::of_bytes(SIZE, [(MIB, &[0; 200_000][..])]);
    let made = vmdk_with(&bench, &zeros, &[]);
    assert_eq!((made.compressed, made.new), (0, None));
    assert!(made.bytes == bench.vmdk(&spec(), &DiskMap::of_bytes(SIZE, [])));
}

#[test]
fn what_two_disks_have_is_compressed_once() {
    let bench = Bench::new();
    let (first, second) = (disk(bench.dir.path(), "one"), disk(bench.dir.path(), "two"));
    let mut packs = bench.packs(&[]);
    let both = collect(&[&first, &second], &mut packs, &|_, _| {}).unwrap();
    assert_eq!((both[0].compressed, both[1].compressed), (1 + 5, 1));
    packs.finish_new();
    let bytes = bytes_of(&vmdk(&spec(), &both[1]).unwrap(), &packs);
    assert!(bytes == bench.vmdk(&spec(), &second));
}
