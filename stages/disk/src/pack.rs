//! From a described disk, or a root file system, to a file people can use.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use ibuild_cache::{BlobId, Cancel, EagerFile, Stoppable};

use super::Progress;
use super::artifact::{PackedArtifact, create};
use super::boot::{BIOS_WRITER, ESP_WRITER, GRUB_WRITER};
use super::compose::{Destination, Made, compose_file};
use super::digest::{DigestWriter, Digested};
use super::error::DiskError;
use super::ext4::EXT4_WRITER;
use super::gpt::GPT_WRITER;
use super::grains::{CODEC, Packs, collect};
use super::map::DiskMap;
use super::oci::{OCI_WRITER, OciImage, write_oci};
use super::ova::{DiskContent, MachineDisk, OVA_WRITER, write_ova};
use super::qcow2::{QCOW2_WRITER, qcow2};
use super::raw::{RAW_WRITER, write_raw};
use super::raw_zst::{RAW_ZST_WRITER, write_raw_zst};
use super::rope::Rope;
use super::spec::DiskSpec;
use super::vdi::{VDI_WRITER, write_vdi};
use super::vmdk::{KeptVmdk, VMDK_WRITER, vmdk};
use ibuild_snapshot::TARBALL_WRITER;
use ibuild_spec::Format;

/// Changes when the same tarball is compressed in another way. Belongs into the key, beside the version of zstd.
pub const ROOTFS_WRITER: &str = "ibuild-rootfs.zst 1";

/// Level of zstd for root file systems: the best that still keeps up with a disk.
const ZSTD_LEVEL: i32 = 3;

/// What is packed.
pub enum Source<'a> {
    /// Machines with their disks. An OVA holds any number, the formats of a disk just one.
    Machines {
        /// Name of the image, which is that of the OVF inside an OVA.
        name: &'a str,
        /// Time of an OVA's members: SOURCE_DATE_EPOCH, in seconds.
        epoch: u64,
        /// The machines, in the order of the OVA.
        machines: &'a [MachineDisk<'a>],
        /// What may have some of the grains, and gets the others. The bytes do not depend on it.
        packs: &'a mut Packs,
    },
    /// A flat, uncompressed tar of a root file system.
    Rootfs {
        /// The tar.
        tar: &'a Path,
    },
    /// The layers of a root file system.
    Layers(OciImage<'a>),
}

/// Names the writers of a disk and their versions, for keys: of the file system, and of all that is around it.
pub fn disk_identity() -> String {
    [EXT4_WRITER, GPT_WRITER, ESP_WRITER, BIOS_WRITER, GRUB_WRITER, RAW_WRITER].join(", ")
}

/// Names the writer of a format and its version, for keys. What a disk is made by is no part of it.
pub fn packer_identity(format: Format) -> String {
    let zstd = zstd::zstd_safe::version_string();
    match format {
        Format::Ova => format!("{OVA_WRITER}, {VMDK_WRITER}, {CODEC}"),
        Format::Vmdk => format!("{VMDK_WRITER}, {CODEC}"),
        Format::Qcow2 => format!("{QCOW2_WRITER}, {CODEC}"),
        Format::Vdi => VDI_WRITER.into(),
        Format::Raw => RAW_WRITER.into(),
        Format::RawZst => format!("{RAW_ZST_WRITER}, zstd {zstd}"),
        Format::RootfsTarZst => format!("{ROOTFS_WRITER}, {TARBALL_WRITER}, zstd {zstd}"),
        Format::Oci => format!("{OCI_WRITER}, zstd {zstd}"),
    }
}

/// Packs `source` as `format` into the file `out`. The caller publishes it.
///
/// If there is a file already, it is written over: of formats that are made of grains only what differs. Only those have twins.
///
/// The same source and [`packer_identity`] give the same bytes.
pub fn pack<'d>(
    format: Format,
    source: Source<'_>,
    destination: impl Into<Destination<'d>>,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    pack_until(&Cancel::default(), format, source, destination, progress)
}

/// The same for a user who may give up. Maps and packs know of that themselves.
pub fn pack_until<'d>(
    cancel: &Cancel,
    format: Format,
    source: Source<'_>,
    destination: impl Into<Destination<'d>>,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let destination = destination.into();
    let out = destination.file;
    match (format, source) {
        (Format::Ova, Source::Machines { name, epoch, machines, packs }) => {
            write_ova(name, epoch, machines, packs, destination, progress)
        }
        (Format::RootfsTarZst, Source::Rootfs { tar }) => {
            Ok(compress_tar(tar, cancel, out, progress)?.into())
        }
        (Format::Oci, Source::Layers(image)) => Ok(write_oci(&image, cancel, out, progress)?.into()),
        (_, Source::Machines { machines: [machine], packs, .. }) => {
            pack_disk(format, machine, packs, destination, progress)
        }
        (_, Source::Machines { .. }) => {
            Err(DiskError::Pack { format, reason: "it holds one machine; several go into an OVA" })
        }
        (_, Source::Rootfs { .. } | Source::Layers(_)) => {
            Err(DiskError::Pack { format, reason: "it is made of something else than files" })
        }
    }
}

fn pack_disk(
    format: Format,
    machine: &MachineDisk<'_>,
    packs: &mut Packs,
    destination: Destination<'_>,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let (disk, out) = (machine.disk, destination.file);
    let map = match (format, machine.content) {
        (Format::Vmdk, DiskContent::Vmdk(found)) => return write(&found.rope, packs, destination),
        (_, DiskContent::Vmdk(_)) => {
            return Err(DiskError::Pack {
                format,
                reason: "a finished VMDK is part of `ova` and `vmdk` only",
            });
        }
        (_, DiskContent::Map(map)) => map,
    };
    match format {
        Format::Vmdk | Format::Qcow2 => pack_grains(format, disk, map, packs, destination, progress),
        Format::Vdi => Ok(write_vdi(disk, map, create(out)?, progress)?.into()),
        Format::RawZst => Ok(write_raw_zst(disk, map, create(out)?, progress)?.into()),
        Format::Raw => {
            write_raw(map, out, progress)?;
            Ok(Digested::of_file(out, map.cancel())?.into())
        }
        Format::Ova | Format::RootfsTarZst | Format::Oci => {
            Err(DiskError::Pack { format, reason: "it is not made of a disk alone" })
        }
    }
}

fn pack_grains(
    format: Format,
    disk: &DiskSpec,
    map: &DiskMap,
    packs: &mut Packs,
    destination: Destination<'_>,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let grains = collect(&[map], packs, progress)?.remove(0);
    let new_pack = packs.finish_new();
    let rope = if format == Format::Vmdk { vmdk(disk, &grains)? } else { qcow2(disk, &grains) };
    let made = write(&rope, packs, destination)?;
    let disks = if format == Format::Vmdk { made.disks } else { Vec::new() };
    Ok(PackedArtifact { compressed: grains.compressed, new_pack, disks, ..made })
}

/// A file that is a rope and nothing else.
fn write(rope: &Rope, packs: &Packs, destination: Destination<'_>) -> Result<PackedArtifact, DiskError> {
    let (file, subtrees) = compose_file(rope, packs, destination)?;
    let whole = KeptVmdk { offset: 0, size: rope.size(), sha256: None };
    let made = Made { rope: rope.clone(), subtrees };
    Ok(PackedArtifact { made: Some(made), disks: vec![whole], ..file.into() })
}

/// Always with one worker: zstd's output with workers differs from that without, but not with their number.
fn compress_tar(
    tar: &Path,
    cancel: &Cancel,
    out: &Path,
    progress: Progress<'_>,
) -> Result<Digested<BlobId>, DiskError> {
    let source = File::open(tar).map_err(DiskError::io("open the root file system", tar))?;
    let total = source.metadata().map_err(DiskError::io("read", tar))?.len();
    let mut source = Stoppable::new(source, cancel.clone());
    let file = File::create(out).map_err(DiskError::io("create", out))?;
    let write = |error| DiskError::io("write", out)(error);
    let mut encoder = encoder(DigestWriter::new(EagerFile::new(file)), total).map_err(write)?;
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = source.read(&mut buffer).map_err(DiskError::io("read", tar))?;
        if read == 0 {
            break;
        }
        encoder.write_all(&buffer[..read]).map_err(write)?;
        done += read as u64;
        progress(done, total);
    }
    let (_, digested) = encoder.finish().and_then(DigestWriter::finish).map_err(write)?;
    Ok(digested)
}

fn encoder<W: Write>(out: W, size: u64) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    encoder.multithread(1)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(size))?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
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
            Lab {
                bench: Bench::new(),
                disk: DiskSpec::new("veil", 97 * MIB, 0),
                vm: VmSpec::new(1, 512),
                map,
            }
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
        let sources =
            [(Format::RootfsTarZst, Source::Rootfs { tar: &tar }), (Format::Oci, Source::Layers(none))];
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
}
