//! The raw disk: a sparse file with partition table, boot loader and root file system in their places.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Progress;
use super::boot::{BootFiles, format_esp};
use super::contents::Contents;
use super::error::DiskError;
use super::ext4::{FilesystemJob, FilesystemWriter};
use super::gpt::{Gpt, Role};
use super::map::{DiskMap, Piece};
use super::spec::DiskSpec;

/// Bytes that are read and written at once.
const CHUNK: usize = 1 << 20;

/// What a raw disk is made of.
#[derive(Debug)]
pub struct RawDisk<'a> {
    /// Its description.
    pub spec: &'a DiskSpec,
    /// GRUB's images.
    pub boot: &'a BootFiles,
    /// Flat, uncompressed tar of the root file system: see [`FilesystemJob`].
    pub root_tar: &'a Path,
}

/// Writes the disk to `out`, a new file, and leaves it sparse. Intermediate files lie beside it for a while.
///
/// The same disk and the same writer give the same bytes.
pub fn assemble_raw(disk: &RawDisk<'_>, fs: &dyn FilesystemWriter, out: &Path) -> Result<(), DiskError> {
    disk.spec.check()?;
    let file = File::create(out).map_err(DiskError::io("create the disk", out))?;
    file.set_len(disk.spec.size).map_err(DiskError::io("size the disk", out))?;
    for (offset, bytes) in small_parts(disk)? {
        write_sparsely(&file, offset, &bytes).map_err(DiskError::io("write the disk", out))?;
    }
    let scratch = tempfile::Builder::new().prefix(".mkfs-").tempdir_in(parent(out));
    let scratch = scratch.map_err(DiskError::io("make a scratch directory beside", out))?;
    fs.write(&FilesystemJob {
        root_tar: disk.root_tar,
        disk: out,
        range: Role::Root.range(disk.spec.size),
        spec: disk.spec,
        scratch: scratch.path(),
    })
}

/// Writes a described disk to the new file `out`, and leaves it sparse.
///
/// Pieces are read and written by several threads: the bytes do not depend on how many.
pub fn write_raw(map: &DiskMap, out: &Path, progress: Progress<'_>) -> Result<(), DiskError> {
    let file = File::create(out).map_err(DiskError::io("create the disk", out))?;
    file.set_len(map.size).map_err(DiskError::io("size the disk", out))?;
    let contents = Contents::of(map);
    let total = map.pieces.iter().map(Piece::length).sum();
    let done = AtomicU64::new(0);
    map.pieces.par_iter().try_for_each_init(Vec::new, |buffer, piece| {
        for skip in (0..piece.length()).step_by(CHUNK) {
            buffer.resize((piece.length() - skip).min(CHUNK as u64) as usize, 0);
            contents.read(piece, skip, buffer)?;
            write_sparsely(&file, piece.at + skip, buffer).map_err(DiskError::io("write the disk", out))?;
            let length = buffer.len() as u64;
            progress(done.fetch_add(length, Ordering::Relaxed) + length, total);
        }
        Ok(())
    })
}

/// Everything but the root file system, with its place in bytes, in the order of writing: the boot loader's
/// code covers the first 440 bytes of the protective MBR.
fn small_parts(disk: &RawDisk<'_>) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
    let size = disk.spec.size;
    let gpt = Gpt::new(disk.spec);
    let mut parts = vec![(0, gpt.head), (gpt.tail_offset, gpt.tail)];
    if let Some(bios) = &disk.boot.bios {
        parts.push((0, bios.mbr_code()));
        parts.push((Role::BiosBoot.range(size).start, bios.core()));
    }
    if let Some(program) = &disk.boot.uefi {
        let esp = format_esp(program, disk.spec.identity().fat_volume())?;
        parts.push((Role::Esp.range(size).start, esp));
    }
    Ok(parts)
}

/// Blocks of zeros are left out: the file is new, so they are there already, as holes.
fn write_sparsely(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    const BLOCK: usize = 4096;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        let covered = offset == 0 && index == 0;
        if covered || block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, offset + (index * BLOCK) as u64)?;
        }
    }
    Ok(())
}

/// The directory of a file that may be given by its bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::disk::boot::BiosBoot;
    use crate::disk::spec::MIB;

    /// Marks the first and last byte of the range it is given.
    struct Marker;

    impl FilesystemWriter for Marker {
        fn identity(&self) -> String {
            "marker".into()
        }

        fn write(&self, job: &FilesystemJob<'_>) -> Result<(), DiskError> {
            let file = File::options().write(true).open(job.disk).unwrap();
            file.write_all_at(b"R", job.range.start).unwrap();
            file.write_all_at(b"r", job.range.end - 1).unwrap();
            Ok(())
        }
    }

    fn boot_files() -> BootFiles {
        let mut boot_img = vec![0xcc; 512];
        boot_img[510..].copy_from_slice(&[0x55, 0xaa]);
        BootFiles {
            bios: Some(BiosBoot::new(boot_img, vec![0xdd; 2048]).unwrap()),
            uefi: Some(b"MZ program".to_vec()),
        }
    }

    #[test]
    fn every_part_lies_in_its_place_and_the_rest_is_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("disk.raw");
        let spec = DiskSpec::new("veil", 256 * MIB, 0);
        let boot = boot_files();
        let disk = RawDisk { spec: &spec, boot: &boot, root_tar: Path::new("unused") };
        assemble_raw(&disk, &Marker, &out).unwrap();
        let file = File::open(&out).unwrap();
        let at = |offset: u64| {
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        };
        assert_eq!(at(0), [0xcc; 4]);
        assert_eq!(at(508)[2..], [0x55, 0xaa]);
        assert_eq!(&at(512), b"EFI ");
        assert_eq!(at(MIB), [0xdd; 4]);
        assert_eq!(at(2 * MIB)[0], 0xeb);
        assert_eq!(at(64 * MIB)[0], b'R');
        assert_eq!(at(255 * MIB - 4)[3], b'r');
        assert_eq!(&at(256 * MIB - 512), b"EFI ");
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), 256 * MIB);
        assert!(meta.blocks() * 512 < 2 * MIB);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_spec_makes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("disk.raw");
        let spec = DiskSpec::new("veil", MIB, 0);
        let disk = RawDisk { spec: &spec, boot: &boot_files(), root_tar: Path::new("unused") };
        assert!(assemble_raw(&disk, &Marker, &out).is_err());
        assert!(!out.exists());
    }
}
