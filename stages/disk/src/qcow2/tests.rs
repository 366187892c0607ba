//! QEMU's own tools say whether it is right: `qemu-img check` looks at every refcount, `qemu-img compare` at every byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;
use crate::lab::{Bench, bytes_of};
use crate::map::DiskMap;
use crate::vmdk::vmdk;
use crate::write_raw;
use ibuild_spec::MIB;

struct Lab {
    bench: Bench,
    spec: DiskSpec,
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

/// 1200 MiB: three L2 tables of which the middle one is empty; text, noise, zeros that are named, the last bytes.
fn map() -> DiskMap {
    let (text, zeros) = (b"some text ".repeat(300_000), vec![0; 1 << 20]);
    DiskMap::of_bytes(
        1200 * MIB,
        [
            (0, &text[..]),
            (5 * MIB + 1000, &noise(300_000, 1)[..]),
            (8 * MIB, &zeros[..]),
            (20 * MIB, &noise(70_000, 2)[..]),
            (1100 * MIB - 10, b"across a cluster's end"),
            (1200 * MIB - 3, b"end"),
        ],
    )
}

impl Lab {
    fn new(size: u64) -> Self {
        Self { bench: Bench::new(), spec: DiskSpec::new("veil", size, 0) }
    }

    fn qcow2(&self, map: &DiskMap) -> Vec<u8> {
        self.bench.qcow2(&self.spec, map)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.bench.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn raw(&self, map: &DiskMap) -> PathBuf {
        let path = self.bench.dir.path().join("disk.raw");
        write_raw(map, &path, &|_, _| {}).unwrap();
        path
    }
}

fn qemu_img(arguments: &[&str], files: &[&Path]) -> Output {
    let output = Command::new("qemu-img").args(arguments).args(files).output();
    output.expect("these tests need `qemu-img` (package qemu-utils)")
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn qemu_finds_nothing_wrong_and_the_same_disk() {
    let (lab, map) = (Lab::new(1200 * MIB), map());
    let bytes = lab.qcow2(&map);
    assert_eq!(bytes.len() as u64 % GRAIN, 0);
    let file = lab.file("disk.qcow2", &bytes);
    let check = qemu_img(&["check", "-f", "qcow2", "--output=json"], &[&file]);
    succeeds(&check);
    let said: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(said.get("leaks").is_none() && said.get("corruptions").is_none(), "{said}");
    assert!(said["compressed-clusters"].as_u64() > Some(40), "{said}");
    assert!(said["allocated-clusters"].as_u64() > said["compressed-clusters"].as_u64(), "{said}");
    succeeds(&qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[&lab.raw(&map), &file]));
}

#[test]
fn a_disk_that_differs_is_not_taken_for_the_same() {
    let (lab, map) = (Lab::new(1200 * MIB), map());
    let mut bytes = lab.qcow2(&map);
    // The last cluster is one that is not compressed.
    *bytes.last_mut().unwrap() ^= 1;
    let file = lab.file("disk.qcow2", &bytes);
    assert!(!qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[&lab.raw(&map), &file]).status.success());
}

#[test]
fn an_empty_disk_is_one_too() {
    for size in [MIB, 600 * MIB, 100 << 30] {
        let (lab, map) = (Lab::new(size), DiskMap::of_bytes(size, []));
        let file = lab.file("disk.qcow2", &lab.qcow2(&map));
        succeeds(&qemu_img(&["check", "-f", "qcow2"], &[&file]));
        let info = qemu_img(&["info", "--output=json"], &[&file]);
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!((&info["format"], &info["virtual-size"]), (&"qcow2".into(), &size.into()));
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let (lab, map) = (Lab::new(1200 * MIB), map());
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| lab.qcow2(&map))
    };
    assert!(with(1) == with(3));
}

#[test]
fn a_pack_serves_both_formats() {
    let (lab, map) = (Lab::new(1200 * MIB), map());
    let old = lab.bench.pack(&map);
    let mut packs = lab.bench.packs(&[old]);
    let grains = lab.bench.collect(&map, &mut packs);
    assert_eq!(grains.compressed, 0);
    assert!(bytes_of(&qcow2(&lab.spec, &grains), &packs) == lab.qcow2(&map));
    let vmdk = vmdk(&lab.spec, &grains).unwrap();
    assert!(bytes_of(&vmdk, &packs) == lab.bench.vmdk(&lab.spec, &map));
    assert_eq!(packs.finish_new(), None, "nothing is new");
}

#[test]
fn values_are_pinned() {
    let map = DiskMap::of_bytes(MIB, [(0, b"content".as_slice())]);
    assert_eq!(Lab::new(MIB).qcow2(&map).len() as u64, 6 * GRAIN);
}
