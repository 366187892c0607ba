//! The partition table: a GUID Partition Table with its protective MBR (UEFI 2.10, chapter 5).
//!
//! ```text
//! LBA 0            protective MBR (its first 440 bytes belong to the boot loader)
//! LBA 1            header
//! LBA 2..34        128 entries of 128 bytes
//! 1 MiB            BIOS boot partition, 1 MiB: GRUB's core image
//! 2 MiB..64 MiB    EFI system partition
//! 64 MiB..end-1MiB root file system
//! last 33 sectors  copy of the entries, copy of the header
//! ```
//!
//! Places do not depend on the firmware: a partition that is not needed is only missing from the table.

use std::ops::Range;

use uuid::{Uuid, uuid};

use super::spec::DiskSpec;
use ibuild_spec::MIB;
use ibuild_spec::hardware::Firmware;

/// Changes when the same spec gives another table. Belongs into the key of a disk.
pub const GPT_WRITER: &str = "ibuild-gpt 1";

/// Bytes in a sector.
pub const SECTOR: u64 = 512;

const ENTRY_COUNT: usize = 128;
const ENTRY_SIZE: usize = 128;
const ENTRY_SECTORS: u64 = (ENTRY_COUNT * ENTRY_SIZE) as u64 / SECTOR;

/// What a partition is for. The numbers are those of the table, and stay the same whatever is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// GRUB's core image, started from the MBR.
    BiosBoot = 1,
    /// The EFI system partition.
    Esp = 2,
    /// The root file system.
    Root = 3,
}

impl Role {
    /// Partition type GUIDs: GRUB manual, "BIOS installation"; UEFI 2.10, table 5-7; the Discoverable
    /// Partitions Specification for an x86-64 root.
    fn type_guid(self) -> Uuid {
        match self {
            Role::BiosBoot => uuid!("21686148-6449-6e6f-744e-656564454649"),
            Role::Esp => uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            Role::Root => uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Role::BiosBoot => "bios-boot",
            Role::Esp => "esp",
            Role::Root => "root",
        }
    }

    /// The bytes of a disk of `size` bytes that this partition covers.
    pub fn range(self, size: u64) -> Range<u64> {
        match self {
            Role::BiosBoot => MIB..2 * MIB,
            Role::Esp => 2 * MIB..64 * MIB,
            Role::Root => 64 * MIB..size - MIB,
        }
    }
}

/// The partition table of a disk, ready to be written.
#[derive(Debug)]
pub struct Gpt {
    /// Protective MBR, header and entries: written at offset 0.
    pub head: Vec<u8>,
    /// Entries and header once more: written at `tail_offset`, up to the disk's end.
    pub tail: Vec<u8>,
    /// Where `tail` belongs, in bytes.
    pub tail_offset: u64,
}

impl Gpt {
    /// Forms the table. The spec must have passed its check.
    pub fn new(spec: &DiskSpec) -> Gpt {
        let sectors = spec.size / SECTOR;
        let entries = entries(spec);
        let head_header = Header { at: 1, other: sectors - 1, entries_at: 2 };
        let tail_header = Header { at: sectors - 1, other: 1, entries_at: sectors - 1 - ENTRY_SECTORS };
        let head = [protective_mbr(sectors), head_header.bytes(spec, &entries), entries.clone()];
        let tail = [entries.clone(), tail_header.bytes(spec, &entries)];
        Gpt { head: head.concat(), tail: tail.concat(), tail_offset: tail_header.entries_at * SECTOR }
    }
}

fn roles(spec: &DiskSpec) -> impl Iterator<Item = Role> {
    let bios = spec.firmware.contains(Firmware::Bios).then_some(Role::BiosBoot);
    let uefi = spec.firmware.contains(Firmware::Uefi).then_some(Role::Esp);
    [bios, uefi, Some(Role::Root)].into_iter().flatten()
}

/// UEFI 2.10, section 5.2.3: one partition of type 0xEE over the whole disk, as far as 32 bits reach.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[447..450].copy_from_slice(&[0x00, 0x02, 0x00]);
    mbr[450] = 0xee;
    mbr[451..454].copy_from_slice(&[0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&covered.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

fn entries(spec: &DiskSpec) -> Vec<u8> {
    let mut table = vec![0; ENTRY_COUNT * ENTRY_SIZE];
    for role in roles(spec) {
        let number = role as u32;
        let at = (number as usize - 1) * ENTRY_SIZE;
        entry(role, spec.identity().partition(number), spec.size, &mut table[at..at + ENTRY_SIZE]);
    }
    table
}

/// UEFI 2.10, table 5-6. GUIDs have their first three fields in little endian.
fn entry(role: Role, unique: Uuid, size: u64, out: &mut [u8]) {
    let range = role.range(size);
    out[..16].copy_from_slice(&role.type_guid().to_bytes_le());
    out[16..32].copy_from_slice(&unique.to_bytes_le());
    out[32..40].copy_from_slice(&(range.start / SECTOR).to_le_bytes());
    out[40..48].copy_from_slice(&(range.end / SECTOR - 1).to_le_bytes());
    for (slot, unit) in out[56..].chunks_exact_mut(2).zip(role.label().encode_utf16()) {
        slot.copy_from_slice(&unit.to_le_bytes());
    }
}

/// Where a header lies, where its copy lies, and where its entries begin; all in sectors.
struct Header {
    at: u64,
    other: u64,
    entries_at: u64,
}

impl Header {
    /// UEFI 2.10, table 5-5. The header's own CRC is taken while its field is zero.
    fn bytes(&self, spec: &DiskSpec, entries: &[u8]) -> Vec<u8> {
        let sectors = spec.size / SECTOR;
        let mut bytes = Vec::with_capacity(SECTOR as usize);
        bytes.extend(b"EFI PART");
        bytes.extend(0x0001_0000u32.to_le_bytes());
        bytes.extend(92u32.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(self.at.to_le_bytes());
        bytes.extend(self.other.to_le_bytes());
        bytes.extend((2 + ENTRY_SECTORS).to_le_bytes());
        bytes.extend((sectors - 2 - ENTRY_SECTORS).to_le_bytes());
        bytes.extend(spec.table_guid().to_bytes_le());
        bytes.extend(self.entries_at.to_le_bytes());
        bytes.extend((ENTRY_COUNT as u32).to_le_bytes());
        bytes.extend((ENTRY_SIZE as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(entries).to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(SECTOR as usize, 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::process::Command;

    use super::*;
    use crate::spec::FirmwareSet;

    fn spec(size: u64) -> DiskSpec {
        DiskSpec::new("veil", size, 1_767_225_600)
    }

    fn on_disk(spec: &DiskSpec) -> tempfile::NamedTempFile {
        let gpt = Gpt::new(spec);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(spec.size).unwrap();
        file.write_all(&gpt.head).unwrap();
        file.seek(SeekFrom::Start(gpt.tail_offset)).unwrap();
        file.write_all(&gpt.tail).unwrap();
        file
    }

    #[test]
    fn the_two_copies_have_their_sizes_and_places() {
        let spec = spec(100 << 30);
        let gpt = Gpt::new(&spec);
        assert_eq!(gpt.head.len(), 34 * 512);
        assert_eq!(gpt.tail_offset + gpt.tail.len() as u64, spec.size);
        assert_eq!(gpt.tail.len(), 33 * 512);
    }

    #[test]
    fn a_disk_of_two_tebibytes_keeps_the_mbr_at_its_limit() {
        let gpt = Gpt::new(&spec(3 << 40));
        assert_eq!(gpt.head[458..462], u32::MAX.to_le_bytes());
    }

    #[test]
    fn sfdisk_and_sgdisk_find_no_fault() {
        for size in [97 * MIB, 100 << 30] {
            let file = on_disk(&spec(size));
            let sfdisk = Command::new("/usr/sbin/sfdisk").arg("--verify").arg(file.path()).output();
            let sfdisk = sfdisk.expect("these tests need `sfdisk` (package fdisk)");
            assert!(sfdisk.status.success(), "{sfdisk:?}");
            let sgdisk = Command::new("/usr/sbin/sgdisk").arg("-v").arg(file.path()).output();
            let sgdisk = sgdisk.expect("these tests need `sgdisk` (package gdisk)");
            let text = String::from_utf8_lossy(&sgdisk.stdout);
            assert!(text.contains("No problems found"), "{text}");
        }
    }

    #[test]
    fn a_partition_left_out_does_not_move_or_renumber_the_rest() {
        let both = Gpt::new(&spec(1 << 30));
        let mut only_uefi = spec(1 << 30);
        only_uefi.firmware = FirmwareSet::Uefi;
        let uefi = Gpt::new(&only_uefi);
        let entries = |gpt: &Gpt| gpt.head[1024..].to_vec();
        assert!(entries(&uefi)[..128].iter().all(|&byte| byte == 0));
        assert_eq!(entries(&both)[128..], entries(&uefi)[128..]);
    }

    #[test]
    fn a_guid_that_is_given_is_that_of_the_table_alone() {
        let derived = Gpt::new(&spec(1 << 30));
        let uuid = Uuid::from_u128(0x0011_2233_4455_4677_8899_aabb_ccdd_eeff);
        let given = Gpt::new(&DiskSpec { uuid: Some(uuid), ..spec(1 << 30) });
        assert_eq!(Uuid::from_slice_le(&given.head[512 + 56..512 + 72]).unwrap(), uuid);
        assert_ne!(given.head[512..1024], derived.head[512..1024]);
        assert_eq!(given.head[1024..], derived.head[1024..], "the GUIDs of partitions derive from the name");
        let file = on_disk(&DiskSpec { uuid: Some(uuid), ..spec(1 << 30) });
        let shown = Command::new("/usr/sbin/sfdisk").arg("--disk-id").arg(file.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim().to_lowercase(), uuid.to_string());
    }
}
