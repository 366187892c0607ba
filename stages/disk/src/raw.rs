//! The raw disk: partition table, boot loader and root file system in their places, as a description and as a sparse file.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Progress;
use super::boot::{BootFiles, format_esp};
use super::disk_reader::DiskReader;
use super::error::DiskError;
use super::gpt::{Gpt, Role};
use super::map::{DiskMap, Origin, Piece};
use super::spec::DiskSpec;

/// Changes when the same parts are put elsewhere on a disk. Belongs into the key of a disk.
pub const RAW_WRITER: &str = "ibuild-raw 1";

/// Bytes that are read and written at once.
const CHUNK: usize = 1 << 20;
/// What is left out if it is zero.
const BLOCK: usize = 4096;

/// The whole disk: partition table, boot loader, and the root file system in its place.
///
/// The map of the root file system tells places on the disk, as [`filesystem`](super::filesystem) does.
pub fn disk_map(spec: &DiskSpec, boot: &BootFiles, root: DiskMap) -> Result<DiskMap, DiskError> {
    spec.check()?;
    let mut pieces = root.pieces;
    for (offset, bytes) in small_parts(spec, boot)? {
        pieces.extend(blocks(offset, &bytes));
    }
    Ok(DiskMap::new(spec.size, pieces, root.files))
}

/// Blocks of zeros are left out, because everything that is not on the map is zero.
fn blocks(offset: u64, bytes: &[u8]) -> impl Iterator<Item = Piece> {
    let places = (offset..).step_by(BLOCK);
    let full = places.zip(bytes.chunks(BLOCK)).filter(|(_, block)| block.iter().any(|&byte| byte != 0));
    full.map(|(at, block)| Piece { at, origin: Origin::Bytes(block.to_vec()) })
}

/// Writes a described disk to the new file `out`, and leaves it sparse.
///
/// Pieces are read and written by several threads: the bytes do not depend on how many.
pub fn write_raw(map: &DiskMap, out: &Path, progress: Progress<'_>) -> Result<(), DiskError> {
    let file = File::create(out).map_err(DiskError::io("create the disk", out))?;
    file.set_len(map.size).map_err(DiskError::io("size the disk", out))?;
    let contents = DiskReader::of(map);
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

/// Everything but the root file system, with its place in bytes. The boot loader's code covers the first bytes of the
/// protective MBR.
fn small_parts(spec: &DiskSpec, boot: &BootFiles) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
    let mut gpt = Gpt::new(spec);
    let mut parts = vec![(gpt.tail_offset, gpt.tail)];
    if let Some(bios) = &boot.bios {
        let code = bios.mbr_code();
        gpt.head[..code.len()].copy_from_slice(&code);
        parts.push((Role::BiosBoot.range(spec.size).start, bios.core()));
    }
    if let Some(program) = &boot.uefi {
        let esp = format_esp(program, spec.identity().fat_volume())?;
        parts.push((Role::Esp.range(spec.size).start, esp));
    }
    parts.push((0, gpt.head));
    Ok(parts)
}

/// Blocks of zeros are left out: the file is new, so they are there already, as holes.
fn write_sparsely(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    for run in full_blocks(bytes) {
        let at = offset + run.start as u64;
        file.write_all_at(&bytes[run], at)?;
    }
    Ok(())
}

/// The blocks that are not zero, in as few ranges as they lie in.
fn full_blocks(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs = Vec::<Range<usize>>::new();
    for (block, start) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        let end = start + block.len();
        match runs.last_mut() {
            _ if block.iter().all(|byte| *byte == 0) => {}
            Some(run) if run.end == start => run.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
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
    use crate::boot::BiosBoot;
    use ibuild_spec::MIB;

    /// A root file system whose first and last bytes are marked.
    fn root(spec: &DiskSpec) -> DiskMap {
        let range = Role::Root.range(spec.size);
        let mark = |at, byte: &[u8]| Piece { at, origin: Origin::Bytes(byte.to_vec()) };
        DiskMap::new(spec.size, vec![mark(range.start, b"R"), mark(range.end - 1, b"r")], Vec::new())
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
        let map = disk_map(&spec, &boot_files(), root(&spec)).unwrap();
        write_raw(&map, &out, &|_, _| {}).unwrap();
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
    fn blocks_of_zeros_are_left_out() {
        let mut bytes = vec![0; 5 * BLOCK + 10];
        assert!(full_blocks(&bytes).is_empty());
        for at in [BLOCK, 2 * BLOCK + 7, 5 * BLOCK + 9] {
            bytes[at] = 1;
        }
        assert_eq!(full_blocks(&bytes), [BLOCK..3 * BLOCK, 5 * BLOCK..5 * BLOCK + 10]);
    }

    #[test]
    fn a_bad_spec_makes_no_map() {
        let spec = DiskSpec::new("veil", MIB, 0);
        assert!(disk_map(&spec, &boot_files(), DiskMap::default()).is_err());
    }
}
