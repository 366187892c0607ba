//! Grains are named by what they hold, copied where they are known, and never believed.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::BlobId;

use super::*;
use crate::disk::map::{ContentFile, DiskMap, Origin, Piece};
use crate::disk::spec::{DiskSpec, MIB};
use crate::disk::vmdk::write_vmdk;

const SIZE: u64 = 100 * MIB;

/// A disk of some text and a file of 300,000 bytes.
fn disk(dir: &Path, text: &str) -> DiskMap {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let place = dir.join("file");
    std::fs::write(&place, &bytes).unwrap();
    let content = BlobId::from_bytes(*blake3::hash(&bytes).as_bytes());
    let file = ContentFile { content, size: bytes.len() as u64, place };
    let pieces = vec![
        Piece { at: 5 * MIB + 100, origin: Origin::Bytes(text.as_bytes().to_vec()) },
        Piece { at: 8 * MIB, origin: Origin::File { file: 0, offset: 0, length: 300_000 } },
    ];
    DiskMap::new(SIZE, pieces, vec![file])
}

struct Vmdk {
    bytes: Vec<u8>,
    grains: Vec<(GrainKey, Kept)>,
    compressed: u64,
}

fn vmdk(map: &DiskMap, packs: &[Pack]) -> Vmdk {
    let mut new = NewGrains::none(Path::new("/var/tmp")).unwrap();
    let grains = Grains::collect(map, packs, &mut new, &|_, _| {}).unwrap();
    let mut bytes = Vec::new();
    let written = write_vmdk(&DiskSpec::new("lab", SIZE, 0), &grains, &mut bytes).unwrap();
    Vmdk { bytes, grains: written.grains, compressed: grains.compressed }
}

fn as_pack(vmdk: &Vmdk, damage: impl FnOnce(&File)) -> [Pack; 1] {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vmdk.bytes).unwrap();
    damage(&file);
    [Pack::new(file.into(), vmdk.grains.clone())]
}

#[test]
fn only_what_changed_is_compressed_and_the_bytes_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = vmdk(&disk(dir.path(), "one"), &[]);
    assert_eq!(first.compressed, 1 + 5);
    let changed = disk(dir.path(), "two");
    let warm = vmdk(&changed, &as_pack(&first, |_| {}));
    assert_eq!(warm.compressed, 1);
    assert!(warm.bytes == vmdk(&changed, &[]).bytes);
    assert!(warm.bytes != first.bytes);
}

#[test]
fn what_is_known_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let map = disk(dir.path(), "one");
    let first = vmdk(&map, &[]);
    std::fs::remove_file(dir.path().join("file")).unwrap();
    let again = vmdk(&map, &as_pack(&first, |_| {}));
    assert_eq!(again.compressed, 0);
    assert!(again.bytes == first.bytes);
}

#[test]
fn a_damaged_grain_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let map = disk(dir.path(), "one");
    let first = vmdk(&map, &[]);
    for (_, kept) in first.grains.clone() {
        let damaged = as_pack(&first, |file| file.write_all_at(b"?!", kept.offset + 9).unwrap());
        assert!(vmdk(&map, &damaged).bytes == first.bytes);
    }
    let cut = as_pack(&first, |file| file.set_len(70_000).unwrap());
    assert!(vmdk(&map, &cut).bytes == first.bytes);
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
    moved.files[0].place = "/elsewhere".into();
    assert_eq!(keys(&moved), before);
}

#[test]
fn a_file_of_zeros_has_no_grains() {
    let zeros = DiskMap::of_bytes(SIZE, [(MIB, &[0; 200_000][..])]);
    assert!(vmdk(&zeros, &[]).bytes == vmdk(&DiskMap::of_bytes(SIZE, []), &[]).bytes);
}

#[test]
fn what_two_disks_have_is_compressed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (disk(dir.path(), "one"), disk(dir.path(), "two"));
    let mut new = NewGrains::none(dir.path()).unwrap();
    assert_eq!(Grains::collect(&first, &[], &mut new, &|_, _| {}).unwrap().compressed, 1 + 5);
    let grains = Grains::collect(&second, &[], &mut new, &|_, _| {}).unwrap();
    assert_eq!(grains.compressed, 1);
    let mut bytes = Vec::new();
    write_vmdk(&DiskSpec::new("lab", SIZE, 0), &grains, &mut bytes).unwrap();
    assert!(bytes == vmdk(&second, &[]).bytes);
}
