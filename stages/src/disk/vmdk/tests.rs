//! The stream is walked by a strict reader of its own, and by qemu-img.

use std::path::Path;
use std::process::Command;

use libdeflater::Decompressor;

use super::*;
use crate::disk::map::DiskMap;
use crate::disk::spec::MIB;

/// A strict walk over a streamOptimized VMDK with a footer. Panics at the first byte out of order.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    disk: Vec<u8>,
    /// Sector of each grain by its number.
    grains: Vec<(u64, u32)>,
    tables: Vec<(u32, Vec<u32>)>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        assert!(bytes.len().is_multiple_of(512));
        let capacity = u64_at(bytes, 12) * 512;
        Walk { bytes, at: 128 * 512, disk: vec![0; capacity as usize], grains: vec![], tables: vec![] }
    }

    fn sector(&mut self) -> &'a [u8] {
        let sector = &self.bytes[self.at..self.at + 512];
        self.at += 512;
        sector
    }

    fn run(mut self) -> Vec<u8> {
        self.check_head();
        let mut directory = None;
        loop {
            let at = self.at;
            let sector = self.sector();
            let (value, size, kind) = (u64_at(sector, 0), u32_at(sector, 8), u32_at(sector, 12));
            match (size, kind) {
                (1.., _) => self.grain(at, value, size as usize),
                (0, 1) => self.table(value),
                (0, 2) => directory = Some(self.entries(value)),
                (0, 3) => self.footer(directory.as_ref().expect("the directory comes first")),
                (0, 0) => break,
                _ => panic!("unknown marker {kind} at {at}"),
            }
        }
        assert_eq!(self.at, self.bytes.len(), "nothing follows the end of the stream");
        self.disk
    }

    fn check_head(&self) {
        let b = self.bytes;
        assert_eq!(&b[..4], b"KDMV");
        assert_eq!((u32_at(b, 4), u32_at(b, 8)), (3, 0x30001));
        assert_eq!((u64_at(b, 20), u64_at(b, 28), u32_at(b, 44)), (128, 1, 512));
        assert_eq!((u64_at(b, 56), u64_at(b, 64)), (u64::MAX, 128));
        assert_eq!((&b[73..77], &b[77..79]), (b"\n \r\n".as_slice(), [1, 0].as_slice()));
        assert!(b[79..512].iter().all(|&byte| byte == 0));
        assert!(b[21 * 512..128 * 512].iter().all(|&byte| byte == 0));
    }

    fn grain(&mut self, at: usize, lba: u64, size: usize) {
        let zlib = &self.bytes[at + 12..at + 12 + size];
        let end = (at + 12 + size).next_multiple_of(512);
        assert!(self.bytes[at + 12 + size..end].iter().all(|&byte| byte == 0));
        self.at = end;
        assert!(lba.is_multiple_of(128));
        assert!(self.grains.last().is_none_or(|&(last, _)| last < lba), "grains ascend");
        let place = lba as usize * 512;
        let out = &mut self.disk[place..place + 65536];
        assert_eq!(Decompressor::new().zlib_decompress(zlib, out).unwrap(), 65536);
        assert!(out.iter().any(|&byte| byte != 0), "a grain of zeros was stored");
        self.grains.push((lba, (at / 512) as u32));
    }

    fn entries(&mut self, sectors: u64) -> (u32, Vec<u32>) {
        let at = (self.at / 512) as u32;
        let bytes: Vec<u8> = (0..sectors).flat_map(|_| self.sector().to_vec()).collect();
        (at, bytes.chunks(4).map(|entry| u32_at(entry, 0)).collect())
    }

    fn table(&mut self, sectors: u64) {
        assert_eq!(sectors, 4);
        let table = self.entries(sectors);
        self.tables.push(table);
    }

    /// Every grain is in its table, every table in the directory, and nothing else is.
    fn footer(&mut self, (directory_at, directory): &(u32, Vec<u32>)) {
        let footer = self.sector();
        assert_eq!(u64_at(footer, 56), u64::from(*directory_at));
        assert_eq!((&footer[..56], &footer[64..]), (&self.bytes[..56], &self.bytes[64..512]));
        let mut listed = Vec::new();
        for (index, &at) in directory.iter().enumerate().filter(|(_, at)| **at != 0) {
            let (_, table) = self.tables.iter().find(|(sector, _)| *sector == at).expect("a table");
            let grains = table.iter().enumerate().filter(|(_, sector)| **sector != 0);
            listed.extend(grains.map(|(slot, &sector)| (((index * 512 + slot) * 128) as u64, sector)));
        }
        assert_eq!(listed, self.grains);
        assert_eq!(directory.iter().filter(|&&at| at != 0).count(), self.tables.len());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

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

fn vmdk_of(spec: &DiskSpec, map: &DiskMap) -> (Vec<u8>, Digests) {
    let grains = Grains::collect(map, &[], Path::new("/var/tmp"), &|_, _| {}).unwrap();
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
    assert!(Walk::new(&bytes).run() == map().bytes());
    assert_eq!(digests.size, bytes.len() as u64);
    assert_eq!(digests.blake3, *blake3::hash(&bytes).as_bytes());
}

#[test]
fn an_empty_disk_has_no_grains_and_ends_all_the_same() {
    let spec = DiskSpec { size: MIB, ..spec() };
    let (bytes, _) = vmdk_of(&spec, &DiskMap::of_bytes(MIB, []));
    assert!(Walk::new(&bytes).run() == vec![0; 1 << 20]);
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
    let grains = Grains::collect(&map, &[], Path::new("/var/tmp"), &|_, _| {}).unwrap();
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
    let grains = Grains::collect(&map, &[], Path::new("/var/tmp"), &|_, _| {}).unwrap();
    let error = write_vmdk(&spec(), &grains, Full).unwrap_err();
    assert!(error.to_string().contains("cannot write the VMDK"), "{error}");
}
