//! The stream is read by a strict reader of its own, and by qemu-img.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::disk::check::check_vmdk;
use crate::disk::digest::Digests;
use crate::disk::grains::NewGrains;
use crate::disk::map::DiskMap;
use crate::disk::spec::MIB;

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

fn collect(map: &DiskMap) -> Grains<'_> {
    let mut new = NewGrains::none(Path::new("/var/tmp")).unwrap();
    Grains::collect(map, &[], &mut new, &|_, _| {}).unwrap()
}

fn vmdk_of(spec: &DiskSpec, map: &DiskMap) -> (Vec<u8>, Digests) {
    let grains = collect(map);
    let mut bytes = Vec::new();
    let written = write_vmdk(spec, &grains, &mut bytes).unwrap();
    assert_eq!(vmdk_size(spec, &grains), bytes.len() as u64);
    for (_, kept) in written.grains {
        let zlib = &bytes[kept.offset as usize..kept.offset as usize + kept.length as usize];
        assert_eq!(*blake3::hash(zlib).as_bytes(), kept.digest);
    }
    (bytes, written.digests)
}

fn vmdk(map: &DiskMap) -> (Vec<u8>, Digests) {
    vmdk_of(&spec(), map)
}

#[test]
fn the_stream_is_in_order_and_holds_the_disk() {
    let (bytes, digests) = vmdk(&map());
    assert!(check_vmdk(&bytes).unwrap() == map().bytes());
    assert_eq!(digests.size, bytes.len() as u64);
    assert_eq!(digests.blake3, *blake3::hash(&bytes).as_bytes());
}

#[test]
fn an_empty_disk_has_no_grains_and_ends_all_the_same() {
    let spec = DiskSpec { size: MIB, ..spec() };
    let (bytes, _) = vmdk_of(&spec, &DiskMap::of_bytes(MIB, []));
    assert!(check_vmdk(&bytes).unwrap() == vec![0; 1 << 20]);
    assert_eq!(bytes.len(), (128 + 1 + 1 + 1 + 1 + 1) * 512);
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| vmdk(&map()))
    };
    let one = with(1);
    assert!(one == with(3) && one == with(8));
}

#[test]
fn a_change_at_the_end_leaves_the_beginning() {
    let (before, _) = vmdk(&map());
    let mut changed = map();
    changed.pieces.last_mut().unwrap().origin = crate::disk::Origin::Bytes(b"END".to_vec());
    let (after, _) = vmdk(&changed);
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    assert!(same > 128 * 512 + 300_000, "{same} bytes stayed");
}

#[test]
fn qemu_reads_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, out) = (dir.path().join("disk.raw"), dir.path().join("disk.vmdk"));
    crate::disk::write_raw(&map(), &raw, &|_, _| {}).unwrap();
    std::fs::write(&out, vmdk(&map()).0).unwrap();
    let compare =
        Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "vmdk"]).arg(&raw).arg(&out).output();
    let compare = compare.expect("these tests need `qemu-img` (package qemu-utils)");
    assert!(compare.status.success(), "{compare:?}");
}

#[test]
fn a_disk_of_a_crooked_size_is_refused() {
    let spec = DiskSpec { size: MIB + 512, ..spec() };
    let map = DiskMap::of_bytes(MIB + 512, []);
    let grains = collect(&map);
    let error = write_vmdk(&spec, &grains, io::sink()).unwrap_err();
    assert!(error.to_string().contains("not a multiple of 65536"), "{error}");
}

#[test]
fn a_full_output_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let map = map();
    let grains = collect(&map);
    let error = write_vmdk(&spec(), &grains, Full).unwrap_err();
    assert!(error.to_string().contains("cannot write the VMDK"), "{error}");
}

/// A VMDK behind other bytes in a file, as it is in an OVA.
fn kept(bytes: &[u8], digests: &Digests, damage: impl FnOnce(&mut Vec<u8>)) -> FoundVmdk {
    let mut file = tempfile::tempfile().unwrap();
    let mut all = vec![7; 1000];
    all.extend_from_slice(bytes);
    damage(&mut all);
    file.write_all(&all).unwrap();
    let Digests { size, blake3, sha256 } = *digests;
    let grain = crate::disk::plan(&map()).remove(0).key;
    let at = |offset| (grain, Kept { offset, length: 1, digest: [0; 32] });
    FoundVmdk::new(file.into(), KeptVmdk { offset: 1000, size, blake3, sha256 }, [at(900), at(1500)])
}

#[test]
fn a_finished_one_is_copied_as_it_is() {
    let (bytes, digests) = vmdk(&map());
    let mut copy = Vec::new();
    let written = kept(&bytes, &digests, |_| {}).copy(&mut copy).unwrap();
    assert!(copy == bytes && written.digests == digests);
    let offsets: Vec<u64> = written.grains.iter().map(|(_, kept)| kept.offset).collect();
    assert_eq!(offsets, [500], "grains count from the VMDK's start, and those before it are not its own");
}

#[test]
fn a_finished_one_that_is_damaged_is_told() {
    let (bytes, digests) = vmdk(&map());
    let damages: [fn(&mut Vec<u8>); 2] = [|all| *all.last_mut().unwrap() ^= 1, |all| all.truncate(5000)];
    for damage in damages {
        let error = kept(&bytes, &digests, damage).copy(io::sink()).unwrap_err();
        assert!(matches!(error, DiskError::DamagedVmdk), "{error}");
    }
}
