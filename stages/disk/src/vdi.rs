//! Disks as VDI, VirtualBox's own format: blocks of 1 MiB, of which those that hold nothing are left out.
//!
//! ```text
//! 0          header, 512 bytes
//! 1 MiB      for each block of the disk its place among the blocks below, or none
//! aligned    blocks, in the order of the disk
//! ```
//!
//! Little endian. Source of the format: VirtualBox, `Storage/VDICore.h`, header version 1.1.

use std::io::Write;

use ibuild_cache::BlobId;
use uuid::Uuid;

use super::Progress;
use super::chunks::{cut, stream};
use super::digest::{DigestWriter, Digested};
use super::error::DiskError;
use super::map::DiskMap;
use super::spec::DiskSpec;
use ibuild_spec::MIB;

/// Changes when the same disk gives another VDI. Belongs into its key.
pub const VDI_WRITER: &str = "ibuild-vdi 1";

const BLOCK: u64 = MIB;
const SIGNATURE: u32 = 0xbeda_107f;
const VERSION: u32 = 0x0001_0001;
/// Bytes of the header behind signature and version.
const HEADER_LENGTH: u32 = 400;
/// Blocks are added as they are written to.
const DYNAMIC: u32 = 1;
const SECTOR: u32 = 512;
/// The place of a block that holds nothing.
const NOWHERE: u32 = 0xffff_ffff;
const MAP_START: u64 = MIB;

/// Writes a described disk to `out`. The bytes are a function of the spec and the map.
pub fn write_vdi(
    spec: &DiskSpec,
    map: &DiskMap,
    out: impl Write + Send,
    progress: Progress<'_>,
) -> Result<Digested<BlobId>, DiskError> {
    let write = |source| DiskError::Write { what: format!("the VDI of `{}`", spec.name), source };
    let mut out = DigestWriter::new(out);
    let mut places = vec![NOWHERE; spec.size.div_ceil(BLOCK) as usize];
    let blocks = cut(map, BLOCK);
    for (place, block) in (0..).zip(&blocks) {
        places[block.number as usize] = place;
    }
    let head = head(spec, &places, blocks.len() as u32);
    out.write_all(&head).map_err(write)?;
    let total = blocks.len() as u64 * BLOCK;
    stream(
        map,
        &blocks,
        BLOCK,
        |bytes| Ok(bytes.to_vec()),
        |_, bytes| {
            out.write_all(&bytes).map_err(write)?;
            progress(out.position() - head.len() as u64, total);
            Ok(())
        },
    )?;
    Ok(out.finish().map_err(write)?.1)
}

/// Everything before the blocks.
fn head(spec: &DiskSpec, places: &[u32], allocated: u32) -> Vec<u8> {
    let data_start = (MAP_START + places.len() as u64 * 4).next_multiple_of(MIB);
    let mut bytes = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
    bytes.resize(64, 0);
    for field in [SIGNATURE, VERSION, HEADER_LENGTH, DYNAMIC, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.resize(bytes.len() + 256, 0);
    // No geometry: whoever wants one makes it up from the size.
    for field in [MAP_START as u32, data_start as u32, 0, 0, 0, SECTOR, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(spec.size.to_le_bytes());
    for field in [BLOCK as u32, 0, places.len() as u32, allocated] {
        bytes.extend(field.to_le_bytes());
    }
    let medium = spec.medium();
    // It has no snapshot, and is no difference to another disk.
    for uuid in [medium, spec.identity().modification(), Uuid::nil(), Uuid::nil()] {
        bytes.extend(uuid.to_bytes_le());
    }
    bytes.resize(MAP_START as usize, 0);
    bytes.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    bytes.resize(data_start as usize, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::write_raw;

    fn vdi(spec: &DiskSpec, map: &DiskMap) -> (Vec<u8>, Digested<BlobId>) {
        let mut bytes = Vec::new();
        let digested = write_vdi(spec, map, &mut bytes, &|_, _| {}).unwrap();
        (bytes, digested)
    }

    #[test]
    fn qemu_reads_the_same_disk() {
        let spec = DiskSpec::new("veil", 700 * MIB, 0);
        let text = b"some text ".repeat(300_000);
        let pieces = [(0, &text[..]), (300 * MIB - 5, b"across blocks"), (700 * MIB - 3, b"end")];
        let map = DiskMap::of_bytes(spec.size, pieces);
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (raw, out) = (dir.path().join("disk.raw"), dir.path().join("disk.vdi"));
        write_raw(&map, &raw, &|_, _| {}).unwrap();
        let (bytes, digested) = vdi(&spec, &map);
        assert_eq!(bytes.len() as u64, 2 * MIB + 6 * MIB);
        assert_eq!(digested, Digested::of_bytes(&bytes));
        std::fs::write(&out, &bytes).unwrap();
        let run = |arguments: &[&str], files: &[&std::path::Path]| {
            let output = Command::new("qemu-img").args(arguments).args(files).output();
            output.expect("these tests need `qemu-img` (package qemu-utils)")
        };
        let compare = run(&["compare", "-f", "raw", "-F", "vdi"], &[&raw, &out]);
        assert!(compare.status.success(), "{compare:?}");
        let check = run(&["check", "-f", "vdi"], &[&out]);
        assert!(check.status.success(), "{check:?}");
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&out, &damaged).unwrap();
        assert!(!run(&["compare", "-f", "raw", "-F", "vdi"], &[&raw, &out]).status.success());
    }

    #[test]
    fn an_empty_disk_has_no_blocks() {
        let spec = DiskSpec::new("veil", 100 << 30, 0);
        let (bytes, _) = vdi(&spec, &DiskMap::of_bytes(spec.size, []));
        assert_eq!(bytes.len() as u64, 2 * MIB);
    }

    #[test]
    fn the_medium_is_that_of_the_ova() {
        let derived = DiskSpec::new("veil", 100 * MIB, 0);
        let given = DiskSpec { uuid: Some(Uuid::from_u128(7)), ..derived.clone() };
        for spec in [derived, given] {
            let (bytes, _) = vdi(&spec, &DiskMap::of_bytes(spec.size, []));
            let uuid = Uuid::from_slice_le(&bytes[392..408]).unwrap();
            assert_eq!(uuid, spec.medium());
        }
    }
}
