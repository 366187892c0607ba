//! From a described disk, or a root file system, to a file people can use.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use ibuild_cache::EagerFile;

use super::Progress;
use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::format::Format;
use super::grains::{CODEC, GrainKey, Grains, Kept, NewGrains, Pack, WrittenDisk};
use super::map::DiskMap;
use super::oci::{OCI_WRITER, OciImage, write_oci};
use super::ova::{DiskContent, MachineDisk, OVA_WRITER, write_ova};
use super::qcow2::{QCOW2_WRITER, write_qcow2};
use super::raw::{self, write_raw};
use super::raw_zst::{RAW_ZST_WRITER, write_raw_zst};
use super::spec::DiskSpec;
use super::vdi::{VDI_WRITER, write_vdi};
use super::vmdk::{FoundVmdk, KeptVmdk, VMDK_WRITER, write_vmdk};

/// Level of zstd for root file systems: the best that still keeps up with a disk.
const ZSTD_LEVEL: i32 = 3;

/// A file that has been packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedArtifact {
    /// Its size and digests.
    pub digests: Digests,
    /// The compressed grains in it, and where.
    pub grains: Vec<(GrainKey, Kept)>,
    /// How many of them had to be compressed, because no earlier file had them.
    pub compressed: u64,
    /// The VMDKs in it, one for each machine.
    pub disks: Vec<KeptVmdk>,
}

impl PackedArtifact {
    /// Adds a VMDK that starts at `start`.
    pub(super) fn add_vmdk(&mut self, start: u64, vmdk: WrittenDisk, compressed: u64) {
        let Digests { size, blake3, sha256 } = vmdk.digests;
        self.disks.push(KeptVmdk { offset: start, size, blake3, sha256 });
        self.add(start, vmdk.grains, compressed);
    }

    fn add(&mut self, start: u64, grains: Vec<(GrainKey, Kept)>, compressed: u64) {
        let moved = |(key, kept): (GrainKey, Kept)| (key, Kept { offset: kept.offset + start, ..kept });
        self.grains.extend(grains.into_iter().map(moved));
        self.compressed += compressed;
    }
}

impl From<Digests> for PackedArtifact {
    fn from(digests: Digests) -> Self {
        Self { digests, ..Self::default() }
    }
}

/// What is packed.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Machines with their disks. An OVA holds any number, the formats of a disk just one.
    Machines {
        /// Name of the image, which is that of the OVF inside an OVA.
        name: &'a str,
        /// Time of an OVA's members: SOURCE_DATE_EPOCH, in seconds.
        epoch: u64,
        /// The machines, in the order of the OVA.
        machines: &'a [MachineDisk<'a>],
        /// Earlier files that may have some of the grains. The bytes do not depend on them.
        packs: &'a [Pack],
    },
    /// A flat, uncompressed tar of a root file system.
    Rootfs {
        /// The tar.
        tar: &'a Path,
    },
    /// The layers of a root file system.
    Layers(OciImage<'a>),
}

/// Names the writer of a format and its version, for keys.
pub fn packer_identity(format: Format) -> String {
    let zstd = zstd::zstd_safe::version_string();
    match format {
        Format::Ova => format!("{OVA_WRITER}, {VMDK_WRITER}, {CODEC}"),
        Format::Vmdk => format!("{VMDK_WRITER}, {CODEC}"),
        Format::Qcow2 => format!("{QCOW2_WRITER}, {CODEC}"),
        Format::Vdi => VDI_WRITER.into(),
        Format::Raw => "raw 1".into(),
        Format::RawZst => format!("{RAW_ZST_WRITER}, zstd {zstd}"),
        Format::RootfsTarZst => format!("zstd {zstd}, level {ZSTD_LEVEL}"),
        Format::Oci => format!("{OCI_WRITER}, zstd {zstd}"),
    }
}

/// Packs `source` as `format` into the new file `out`. The caller publishes it.
///
/// The same source and [`packer_identity`] give the same bytes.
pub fn pack(
    format: Format,
    source: Source<'_>,
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    match (format, source) {
        (Format::Ova, Source::Machines { name, epoch, machines, packs }) => {
            write_ova(name, epoch, machines, packs, out, progress)
        }
        (Format::RootfsTarZst, Source::Rootfs { tar }) => Ok(compress_tar(tar, out, progress)?.into()),
        (Format::Oci, Source::Layers(image)) => Ok(write_oci(&image, out, progress)?.into()),
        (_, Source::Machines { machines: [machine], packs, .. }) => {
            pack_disk(format, machine, packs, out, progress)
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
    packs: &[Pack],
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let map = match (format, machine.content) {
        (Format::Vmdk, DiskContent::Vmdk(made)) => return copy_vmdk(made, out),
        (_, DiskContent::Vmdk(_)) => {
            return Err(DiskError::Pack {
                format,
                reason: "a finished VMDK is part of `ova` and `vmdk` only",
            });
        }
        (_, DiskContent::Map(map)) => map,
    };
    let disk = machine.disk;
    match format {
        Format::Vmdk | Format::Qcow2 => pack_grains(format, disk, map, packs, out, progress),
        Format::Vdi => Ok(write_vdi(disk, map, create(out)?, progress)?.into()),
        Format::RawZst => Ok(write_raw_zst(disk, map, create(out)?, progress)?.into()),
        Format::Raw => {
            write_raw(map, out, progress)?;
            Ok(Digests::of_file(out)?.into())
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
    packs: &[Pack],
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let grains = Grains::collect(map, packs, &mut NewGrains::none(raw::parent(out))?, progress)?;
    if format == Format::Vmdk {
        return Ok(one_vmdk(write_vmdk(disk, &grains, create(out)?)?, grains.compressed));
    }
    let written = write_qcow2(disk, &grains, create(out)?)?;
    let mut packed = PackedArtifact::from(written.digests);
    packed.add(0, written.grains, grains.compressed);
    Ok(packed)
}

fn copy_vmdk(made: &FoundVmdk, out: &Path) -> Result<PackedArtifact, DiskError> {
    Ok(one_vmdk(made.copy(create(out)?)?, 0))
}

pub(super) fn create(out: &Path) -> Result<BufWriter<EagerFile>, DiskError> {
    let file = File::create(out).map_err(DiskError::io("create", out))?;
    Ok(BufWriter::with_capacity(1 << 20, EagerFile::new(file)))
}

fn one_vmdk(written: WrittenDisk, compressed: u64) -> PackedArtifact {
    let mut packed = PackedArtifact::from(written.digests);
    packed.add_vmdk(0, written, compressed);
    packed
}

/// Always with one worker: zstd's output with workers differs from that without, but not with their number.
fn compress_tar(tar: &Path, out: &Path, progress: Progress<'_>) -> Result<Digests, DiskError> {
    let mut source = File::open(tar).map_err(DiskError::io("open the root file system", tar))?;
    let total = source.metadata().map_err(DiskError::io("read", tar))?.len();
    let file = File::create(out).map_err(DiskError::io("create", out))?;
    let write = |error| DiskError::io("write", out)(error);
    let mut encoder = encoder(DigestWriter::new(BufWriter::new(file)), total).map_err(write)?;
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
    let (mut file, digests) = encoder.finish().map_err(write)?.finish();
    file.flush().map_err(write)?;
    Ok(digests)
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
    use crate::disk::spec::{MIB, VmSpec};

    struct Lab {
        dir: tempfile::TempDir,
        disk: DiskSpec,
        vm: VmSpec,
        map: DiskMap,
    }

    impl Lab {
        fn new() -> Lab {
            let dir = tempfile::tempdir().unwrap();
            let map = DiskMap::of_bytes(97 * MIB, [(5 * MIB, b"content".as_slice())]);
            Lab { dir, disk: DiskSpec::new("veil", 97 * MIB, 0), vm: VmSpec::new(1, 512), map }
        }

        fn pack(&self, format: Format, copies: usize) -> Packed {
            let content = DiskContent::Map(&self.map);
            let machines = vec![MachineDisk { disk: &self.disk, vm: &self.vm, content }; copies];
            let source = Source::Machines { name: "veil", epoch: 0, machines: &machines, packs: &[] };
            let out = self.dir.path().join(format!("veil.{format}"));
            Ok((out.clone(), pack(format, source, &out, &|_, _| {})?))
        }

        fn pack_with(&self, format: Format, packs: &[Pack], name: &str) -> Packed {
            self.pack_content(format, DiskContent::Map(&self.map), packs, name)
        }

        fn pack_content(
            &self,
            format: Format,
            content: DiskContent<'_>,
            packs: &[Pack],
            name: &str,
        ) -> Packed {
            let machines = [MachineDisk { disk: &self.disk, vm: &self.vm, content }];
            let source = Source::Machines { name: "veil", epoch: 0, machines: &machines, packs };
            let out = self.dir.path().join(format!("{name}.{format}"));
            Ok((out.clone(), pack(format, source, &out, &|_, _| {})?))
        }
    }

    type Packed = Result<(PathBuf, PackedArtifact), DiskError>;

    #[test]
    fn every_format_of_a_disk_is_packed_and_digested() {
        let lab = Lab::new();
        for format in Format::ALL.into_iter().filter(|format| format.needs_disk()) {
            let (out, packed) = lab.pack(format, 1).unwrap();
            assert_eq!(packed.digests, Digests::of_file(&out).unwrap(), "{format}");
            assert_eq!(packed.grains.is_empty(), !format.keeps_grains(), "{format}");
            assert_eq!(packed.disks.is_empty(), !format.keeps_vmdks(), "{format}");
            let again = lab.pack(format, 1).unwrap().1;
            assert_eq!(again.digests, packed.digests, "{format}");
        }
        assert_eq!(std::fs::read_dir(lab.dir.path()).unwrap().count(), 6, "nothing else is left behind");
    }

    #[test]
    fn a_root_file_system_comes_back_from_its_archive() {
        let dir = tempfile::tempdir().unwrap();
        let (tar, out) = (dir.path().join("flat.tar"), dir.path().join("x.rootfs.tar.zst"));
        let content = b"a file system ".repeat(500_000);
        std::fs::write(&tar, &content).unwrap();
        let packed = pack(Format::RootfsTarZst, Source::Rootfs { tar: &tar }, &out, &|_, _| {}).unwrap();
        assert_eq!(packed.digests, Digests::of_file(&out).unwrap());
        assert!(zstd::decode_all(File::open(&out).unwrap()).unwrap() == content);
        assert!(packed.digests.size < 100_000);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let lab = Lab::new();
        let text = lab.pack(Format::Qcow2, 2).unwrap_err().to_string();
        assert_eq!(text, "cannot pack `qcow2`: it holds one machine; several go into an OVA");
        assert!(lab.pack(Format::RootfsTarZst, 1).is_err());
        let source = Source::Rootfs { tar: Path::new("unused") };
        let out = lab.dir.path().join("x");
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

    /// An earlier file of some format, as grains.
    fn as_pack(file: &Path, packed: &PackedArtifact) -> Pack {
        Pack::new(File::open(file).unwrap().into(), packed.grains.clone())
    }

    #[test]
    fn what_earlier_files_have_does_not_show() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut lab, mut pieces) = (Lab::new(), BTreeMap::new());
        let mut last: Vec<(PathBuf, PackedArtifact)> = Vec::new();
        for round in 0..6 {
            random_pieces(&mut random, &mut pieces);
            lab.map = as_map(&pieces);
            lab.vm.memory_mib += 1;
            let packs: Vec<Pack> = last.iter().map(|(file, packed)| as_pack(file, packed)).collect();
            let mut made = Vec::new();
            for format in Format::ALL.into_iter().filter(|format| format.needs_disk()) {
                let clean = lab.pack_with(format, &[], "clean").unwrap();
                let warm = lab.pack_with(format, &packs, &format!("{round}")).unwrap();
                assert_eq!(clean.1.digests, warm.1.digests, "{format} in round {round}");
                assert!(!format.keeps_grains() || round == 0 || warm.1.compressed < clean.1.compressed);
                made.extend(format.keeps_grains().then_some(warm));
            }
            let whole = File::open(&made[0].0).unwrap();
            let vmdk = FoundVmdk::new(whole.into(), made[0].1.disks[0], made[0].1.grains.clone());
            let copied = lab.pack_content(Format::Vmdk, DiskContent::Vmdk(&vmdk), &[], "copied").unwrap();
            let alone =
                made.iter().find(|(file, _)| file.extension().is_some_and(|it| it == "vmdk")).unwrap();
            assert_eq!(copied.1, PackedArtifact { compressed: 0, ..alone.1.clone() }, "round {round}");
            last = made;
        }
    }
}
