//! From a described disk, or a root file system, to a file people can use.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use super::Progress;
use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::format::Format;
use super::grains::{CODEC, GrainKey, Grains, Kept, Pack};
use super::ova::{MachineDisk, OVA_WRITER, write_ova};
use super::qcow2::QemuImg;
use super::raw::{self, write_raw};
use super::vmdk::{VMDK_WRITER, write_vmdk};

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
}

impl PackedArtifact {
    /// Adds the grains of a disk that starts at `start`.
    pub(super) fn add(&mut self, start: u64, grains: Vec<(GrainKey, Kept)>, compressed: u64) {
        let moved = grains.into_iter().map(|(key, kept)| (key, Kept { offset: kept.offset + start, ..kept }));
        self.grains.extend(moved);
        self.compressed += compressed;
    }
}

impl From<Digests> for PackedArtifact {
    fn from(digests: Digests) -> Self {
        Self { digests, ..Self::default() }
    }
}

/// What is packed.
#[derive(Debug, Clone, Copy)]
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
}

/// Names the writer of a format and its version, for keys. Asks `qemu-img` where that is the writer.
pub fn packer_identity(format: Format) -> Result<String, DiskError> {
    Ok(match format {
        Format::Ova => format!("{OVA_WRITER}, {VMDK_WRITER}, {CODEC}"),
        Format::Vmdk => format!("{VMDK_WRITER}, {CODEC}"),
        Format::Qcow2 => QemuImg::find()?.version().into(),
        Format::Raw => "raw 1".into(),
        Format::RootfsTarZst => format!("zstd {}, level {ZSTD_LEVEL}", zstd::zstd_safe::version_string()),
    })
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
        (_, Source::Machines { machines: [machine], packs, .. }) => {
            pack_disk(format, machine, packs, out, progress)
        }
        (_, Source::Machines { .. }) => {
            Err(DiskError::Pack { format, reason: "it holds one machine; several go into an OVA" })
        }
        (_, Source::Rootfs { .. }) => Err(DiskError::Pack { format, reason: "it needs a disk" }),
    }
}

fn pack_disk(
    format: Format,
    machine: &MachineDisk<'_>,
    packs: &[Pack],
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    match format {
        Format::Vmdk => return pack_vmdk(machine, packs, out, progress),
        Format::Qcow2 => {
            let scratch = tempfile::Builder::new().prefix(".raw-").tempdir_in(raw::parent(out));
            let scratch = scratch.map_err(DiskError::io("make a scratch directory beside", out))?;
            let disk = scratch.path().join("disk.raw");
            write_raw(machine.map, &disk, progress)?;
            QemuImg::find()?.convert(&disk, out)?;
        }
        Format::Raw => write_raw(machine.map, out, progress)?,
        Format::Ova | Format::RootfsTarZst => {
            return Err(DiskError::Pack { format, reason: "it is not made of a disk alone" });
        }
    }
    Ok(Digests::of_file(out)?.into())
}

fn pack_vmdk(
    machine: &MachineDisk<'_>,
    packs: &[Pack],
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    let grains = Grains::collect(machine.map, packs, raw::parent(out), progress)?;
    let file = File::create(out).map_err(DiskError::io("create the VMDK", out))?;
    let written = write_vmdk(machine.disk, &grains, BufWriter::with_capacity(1 << 20, file))?;
    let mut packed = PackedArtifact::from(written.digests);
    packed.add(0, written.grains, grains.compressed);
    Ok(packed)
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
    use std::path::PathBuf;

    use super::*;
    use crate::disk::map::DiskMap;
    use crate::disk::spec::{DiskSpec, MIB, VmSpec};

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

        fn pack(&self, format: Format, copies: usize) -> Result<(PathBuf, PackedArtifact), DiskError> {
            let machines = vec![MachineDisk { disk: &self.disk, vm: &self.vm, map: &self.map }; copies];
            let source = Source::Machines { name: "veil", epoch: 0, machines: &machines, packs: &[] };
            let out = self.dir.path().join(format!("veil{}", format.extension()));
            Ok((out.clone(), pack(format, source, &out, &|_, _| {})?))
        }
    }

    #[test]
    fn every_format_of_a_disk_is_packed_and_digested() {
        let lab = Lab::new();
        for format in [Format::Ova, Format::Vmdk, Format::Qcow2, Format::Raw] {
            let (out, packed) = lab.pack(format, 1).unwrap();
            assert_eq!(packed.digests, Digests::of_file(&out).unwrap(), "{format}");
            assert!(!packer_identity(format).unwrap().is_empty());
        }
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
}
