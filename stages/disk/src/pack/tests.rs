//! Tests of `pack.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::grains::FinishedPack;
use crate::lab::{Bench, OldPack};
use crate::spec::VmSpec;
use crate::vmdk::FoundVmdk;
use ibuild_spec::MIB;

struct Lab {
    bench: Bench,
    disk: DiskSpec,
    vm: VmSpec,
    map: DiskMap,
}

impl Lab {
    fn new() -> Lab {
        let map = DiskMap::of_bytes(97 * MIB, [(5 * MIB, b"content".as_slice())]);
        Lab { bench: Bench::new(), disk: DiskSpec::new("veil", 97 * MIB, 0), vm: VmSpec::new(1, 512), map }
    }

    fn pack(&self, format: Format, copies: usize) -> Packed {
        let content = DiskContent::Map(&self.map);
        let machines = vec![MachineDisk { disk: &self.disk, vm: &self.vm, content }; copies];
        self.pack_machines(format, &machines, &mut self.bench.packs(&[]), "veil")
    }

    fn pack_machines(
        &self,
        format: Format,
        machines: &[MachineDisk<'_>],
        packs: &mut Packs,
        name: &str,
    ) -> Packed {
        let source = Source::Machines { name: "veil", epoch: 0, machines, packs };
        let out = self.bench.dir.path().join(format!("{name}.{format}"));
        Ok((out.clone(), pack(format, source, &out, &|_, _| {})?))
    }

    fn pack_content(
        &self,
        format: Format,
        content: DiskContent<'_>,
        packs: &mut Packs,
        name: &str,
    ) -> Packed {
        let machines = [MachineDisk { disk: &self.disk, vm: &self.vm, content }];
        self.pack_machines(format, &machines, packs, name)
    }
}

type Packed = Result<(PathBuf, PackedArtifact), DiskError>;

#[test]
fn every_format_of_a_disk_is_packed_and_digested() {
    let lab = Lab::new();
    for format in Format::ALL.into_iter().filter(|format| format.needs_disk()) {
        let (out, packed) = lab.pack(format, 1).unwrap();
        assert_eq!(packed.file, Digested::of_file(&out, &Cancel::default()).unwrap(), "{format}");
        assert_eq!(packed.made.is_some(), format.keeps_grains(), "{format}");
        assert_eq!(packed.disks.is_empty(), !format.keeps_vmdks(), "{format}");
        let again = lab.pack(format, 1).unwrap().1;
        assert_eq!(again.file, packed.file, "{format}");
    }
    let packs = 2 * Format::ALL.into_iter().filter(|format| format.keeps_grains()).count();
    let files = std::fs::read_dir(lab.bench.dir.path()).unwrap().count();
    assert_eq!(files, 6 + packs, "nothing else is left behind");
}

#[test]
fn who_gives_up_gets_no_file_of_any_format() {
    let (mut lab, cancel) = (Lab::new(), Cancel::default());
    cancel.cancel();
    lab.map = lab.map.until(&cancel);
    for format in Format::ALL.into_iter().filter(|format| format.needs_disk()) {
        assert!(lab.pack(format, 1).unwrap_err().is_interrupt(), "{format}");
    }
    let tar = lab.bench.dir.path().join("flat.tar");
    std::fs::write(&tar, b"a file system").unwrap();
    let (out, none) = (
        lab.bench.dir.path().join("out"),
        OciImage { name: "x", architecture: "amd64", epoch: 0, layers: &[] },
    );
    let sources = [(Format::RootfsTarZst, Source::Rootfs { tar: &tar }), (Format::Oci, Source::Layers(none))];
    for (format, source) in sources {
        let given_up = pack_until(&cancel, format, source, &out, &|_, _| {}).unwrap_err();
        assert!(given_up.is_interrupt(), "{format}");
    }
}

/// What is known of its grains is read from no map.
#[test]
fn who_gives_up_gets_nothing_of_known_grains() {
    let (lab, cancel) = (Lab::new(), Cancel::default());
    let old = [lab.bench.pack(&lab.map)];
    let mut packs = lab.bench.packs(&old);
    let grains = collect(&[&lab.map], &mut packs, &|_, _| {}).unwrap().remove(0);
    cancel.cancel();
    let mut packs = packs.until(&cancel);
    assert!(collect(&[&lab.map], &mut packs, &|_, _| {}).unwrap_err().is_interrupt());
    let out = lab.bench.dir.path().join("out");
    assert!(compose_file(&qcow2(&lab.disk, &grains), &packs, &out).unwrap_err().is_interrupt());
}

#[test]
fn a_root_file_system_comes_back_from_its_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (tar, out) = (dir.path().join("flat.tar"), dir.path().join("x.rootfs.tar.zst"));
    let content = b"a file system ".repeat(500_000);
    std::fs::write(&tar, &content).unwrap();
    let packed = pack(Format::RootfsTarZst, Source::Rootfs { tar: &tar }, &out, &|_, _| {}).unwrap();
    assert_eq!(packed.file, Digested::of_file(&out, &Cancel::default()).unwrap());
    assert!(zstd::decode_all(File::open(&out).unwrap()).unwrap() == content);
    assert!(packed.file.size < 100_000);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let lab = Lab::new();
    let text = lab.pack(Format::Qcow2, 2).unwrap_err().to_string();
    assert_eq!(text, "cannot pack `qcow2`: it holds one machine; several go into an OVA");
    assert!(lab.pack(Format::RootfsTarZst, 1).is_err());
    let source = Source::Rootfs { tar: Path::new("unused") };
    let out = lab.bench.dir.path().join("x");
    assert!(pack(Format::Vmdk, source, &out, &|_, _| {}).is_err());
}

/// Some bytes in some places, on blocks of their own.
fn random_pieces(random: &mut fastrand::Rng, pieces: &mut BTreeMap<u64, Vec<u8>>) {
    for _ in 0..random.usize(1..12) {
        let bytes = match random.u8(..3) {
            0 => b"text ".repeat(random.usize(1..2000)),
            1 => vec![0; random.usize(1..200_000)],
            _ => (0..random.usize(1..150_000)).map(|_| random.u8(..)).collect(),
        };
        pieces.insert(random.u64(..97) * MIB + random.u64(..200) * 4096, bytes);
    }
    let gone: Vec<u64> = pieces.keys().copied().filter(|_| random.u8(..5) == 0).collect();
    gone.iter().for_each(|at| drop(pieces.remove(at)));
}

fn as_map(pieces: &BTreeMap<u64, Vec<u8>>) -> DiskMap {
    let mut end = 0;
    let apart = pieces.iter().filter(|(at, bytes)| {
        let fits = **at >= end && **at + bytes.len() as u64 <= 97 * MIB;
        end = if fits { **at + bytes.len() as u64 } else { end };
        fits
    });
    DiskMap::of_bytes(97 * MIB, apart.map(|(at, bytes)| (*at, bytes.as_slice())).collect::<Vec<_>>())
}

/// What a new pack has, once it is not new any more.
fn as_old(packed: &PackedArtifact, packs: &Packs) -> Option<OldPack> {
    let FinishedPack { path, id, size } = packed.new_pack.clone()?;
    let grains = packed.made.as_ref()?.rope.grains().iter();
    let grains = grains.filter(|grain| packs.pack(grain.pack).0 == id).copied().collect();
    Some(OldPack { path, id, size, grains })
}

#[test]
fn what_earlier_files_have_does_not_show() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut lab, mut pieces) = (Lab::new(), BTreeMap::new());
    let mut old: Vec<OldPack> = Vec::new();
    for round in 0..6 {
        random_pieces(&mut random, &mut pieces);
        lab.map = as_map(&pieces);
        lab.vm.memory_mib += 1;
        let mut new = Vec::new();
        for format in Format::ALL.into_iter().filter(|format| format.needs_disk()) {
            let map = DiskContent::Map(&lab.map);
            let clean = lab.pack_content(format, map, &mut lab.bench.packs(&[]), "clean").unwrap().1;
            let mut packs = lab.bench.packs(&old);
            let warm = lab.pack_content(format, map, &mut packs, &format!("{round}")).unwrap().1;
            assert_eq!(clean.file, warm.file, "{format} in round {round}");
            assert!(!format.keeps_grains() || round == 0 || warm.compressed < clean.compressed);
            new.extend(as_old(&warm, &packs));
            if format == Format::Vmdk {
                let rope = warm.made.clone().unwrap().rope;
                let found = FoundVmdk { rope, sha256: None };
                let content = DiskContent::Vmdk(&found);
                let copied = lab.pack_content(format, content, &mut packs, "copied").unwrap().1;
                assert_eq!((copied.file, copied.compressed), (warm.file, 0), "round {round}");
            }
        }
        old.extend(new);
    }
}
