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
/// If there is a file already, it is written over: of formats that are made of grains only what differs. Only those have seed copies.
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
mod tests;
