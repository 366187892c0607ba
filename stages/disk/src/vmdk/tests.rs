//! The stream is read by a strict reader of its own, and by qemu-img.

use std::process::Command;

use ibuild_cache::Sha256;

use super::*;
use crate::check::check_vmdk;
use crate::grains::PackedGrain;
use crate::lab::Bench;
use crate::map::DiskMap;
use ibuild_spec::MIB;

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// 100 MiB: text, noise, zeros that are stored, a table without grains, the last grain.
fn map() -> DiskMap {
    let (text, noise, zeros) = (b"some text ".repeat(100_000), noise(300_000), vec![0; 1 << 20]);
    DiskMap::of_bytes(
        100 * MIB,
        [
            (0, &text[..]),
            (5 * MIB + 1000, &noise[..]),
            (8 * MIB, &zeros[..]),
            (32 * MIB - 10, b"across a table's end"),
            (100 * MIB - 3, b"end"),
        ],
    )
}

fn spec() -> DiskSpec {
    DiskSpec::new("veil", 100 * MIB, 0)
}

fn vmdk_of(spec: &DiskSpec, map: &DiskMap) -> Vec<u8> {
    Bench::new().vmdk(spec, map)
}

fn vmdk_bytes(map: &DiskMap) -> Vec<u8> {
    vmdk_of(&spec(), map)
}

#[test]
fn the_stream_is_in_order_and_holds_the_disk() {
    assert!(check_vmdk(&vmdk_bytes(&map())).unwrap() == map().bytes());
}

#[test]
fn an_empty_disk_has_no_grains_and_ends_all_the_same() {
    let spec = DiskSpec { size: MIB, ..spec() };
    let bytes = vmdk_of(&spec, &DiskMap::of_bytes(MIB, []));
    assert!(check_vmdk(&bytes).unwrap() == vec![0; 1 << 20]);
    assert_eq!(bytes.len(), (128 + 1 + 1 + 1 + 1 + 1) * 512);
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| vmdk_bytes(&map()))
    };
    let one = with(1);
    assert!(one == with(3) && one == with(8));
}

#[test]
fn a_change_at_the_end_leaves_the_beginning() {
    let before = vmdk_bytes(&map());
    let mut changed = map();
    changed.pieces.last_mut().unwrap().origin = crate::Origin::Bytes(b"END".to_vec());
    let after = vmdk_bytes(&changed);
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    assert!(same > 128 * 512 + 300_000, "{same} bytes stayed");
}

#[test]
fn qemu_reads_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, out) = (dir.path().join("disk.raw"), dir.path().join("disk.vmdk"));
    crate::write_raw(&map(), &raw, &|_, _| {}).unwrap();
    std::fs::write(&out, vmdk_bytes(&map())).unwrap();
    let compare =
        Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "vmdk"]).arg(&raw).arg(&out).output();
    let compare = compare.expect("these tests need `qemu-img` (package qemu-utils)");
    assert!(compare.status.success(), "{compare:?}");
}

#[test]
fn a_disk_of_a_crooked_size_is_refused() {
    let spec = DiskSpec { size: MIB + 512, ..spec() };
    let error = vmdk(&spec, &DiskGrains { list: Vec::new(), compressed: 0 }).unwrap_err();
    assert!(error.to_string().contains("not a multiple of 65536"), "{error}");
}

#[test]
fn one_that_is_too_long_for_its_tables_is_refused() {
    let key = crate::plan(&map()).remove(0).key;
    let grain = |number| {
        let packed = PackedGrain { key, pack: 0, offset: 0, length: u32::MAX, digest: [0; 32] };
        DiskGrain { number, packed }
    };
    let spec = DiskSpec { size: 4096 * MIB, ..spec() };
    let error = vmdk(&spec, &DiskGrains { list: (0..600).map(grain).collect(), compressed: 0 }).unwrap_err();
    assert!(error.to_string().contains("longer than 2 TiB"), "{error}");
}

#[test]
fn one_within_a_file_is_found_again() {
    let bench = Bench::new();
    let whole = bench.rope(&spec(), &map());
    let mut file = Rope::default();
    file.bytes(b"before");
    whole.parts().for_each(|part| file.push(part));
    file.bytes(b"after");
    let kept = KeptVmdk { offset: 6, size: whole.size(), sha256: Some(Sha256::from_bytes([3; 32])) };
    let found = FoundVmdk::within(&file, &kept);
    assert!(found.rope.parts().eq(whole.parts()) && found.sha256 == kept.sha256);
}

#[test]
fn the_descriptor_has_the_uuid_of_the_disk() {
    let with = |uuid| {
        let spec = DiskSpec { uuid, ..spec() };
        let bytes = vmdk_of(&spec, &DiskMap::of_bytes(spec.size, []));
        check_vmdk(&bytes).unwrap();
        (spec.medium(), String::from_utf8_lossy(&bytes[512..][..1024]).into_owned())
    };
    let given = uuid::Uuid::from_u128(7);
    for uuid in [None, Some(given)] {
        let (medium, descriptor) = with(uuid);
        assert!(descriptor.contains(&format!("ddb.uuid.image = \"{medium}\"")), "{descriptor}");
        assert_eq!(medium == given, uuid.is_some());
    }
}
