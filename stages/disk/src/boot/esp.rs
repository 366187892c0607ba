//! The EFI system partition: a FAT32 with one program in it, where firmware looks without being told.
//!
//! Written here rather than with the `fatfs` crate, whose 0.3 gives `.` and `..` a long name each; that is
//! not allowed, and `fsck.fat` wants to repair it. All names we need fit into eight and three letters.
//!
//! ```text
//! sector 0, 6    boot sector and its copy
//! sector 1, 7    FSInfo and its copy
//! sector 32      two file allocation tables
//! cluster 2      /           (a cluster is one sector)
//! cluster 3      /EFI
//! cluster 4      /EFI/BOOT
//! cluster 5...   /EFI/BOOT/BOOTX64.EFI, in one piece
//! ```
//!
//! Source of the format: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03.

use crate::error::DiskError;
use crate::gpt::{Role, SECTOR};

const SECTOR_LEN: usize = SECTOR as usize;
const RESERVED: usize = 32;
const TABLES: usize = 2;
const ENTRIES_PER_SECTOR: usize = SECTOR_LEN / 4;
const FIRST_CLUSTER: usize = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const PROGRAM: u32 = 5;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const ATTR_LABEL: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_ARCHIVE: u8 = 0x20;
const LABEL: &[u8; 11] = b"ESP        ";
/// 1 January 1980, FAT's first day. The partition does not need to tell when it was made.
const DATE: u16 = 0x0021;

/// Changes when the same program gives another partition. Belongs into the key of a disk.
pub const ESP_WRITER: &str = "ibuild-esp 1";

/// Forms the partition with `program` as `EFI/BOOT/BOOTX64.EFI`, up to the last byte in use. The rest of
/// the partition is zeros. The same arguments give the same bytes.
pub fn format_esp(program: &[u8], volume_id: u32) -> Result<Vec<u8>, DiskError> {
    let volume = Volume::new(program.len())?;
    let boot = volume.boot_sector(volume_id);
    let info = volume.info_sector();
    let mut bytes = [boot.clone(), info.clone()].concat();
    bytes.resize(6 * SECTOR_LEN, 0);
    bytes.extend([boot, info].concat());
    bytes.resize(RESERVED * SECTOR_LEN, 0);
    let table = volume.table();
    for _ in 0..TABLES {
        bytes.extend(&table);
    }
    bytes.extend(directory(&[entry(LABEL, ATTR_LABEL, 0, 0), entry(b"EFI        ", ATTR_DIRECTORY, EFI, 0)]));
    // A parent that is the root directory is written as cluster 0.
    bytes.extend(child_directory(EFI, 0, entry(b"BOOT       ", ATTR_DIRECTORY, BOOT, 0)));
    let file = entry(b"BOOTX64 EFI", ATTR_ARCHIVE, PROGRAM, program.len() as u32);
    bytes.extend(child_directory(BOOT, EFI, file));
    bytes.extend(program);
    Ok(bytes)
}

/// The sizes that follow from the partition's and the program's. All in sectors, which are clusters.
struct Volume {
    sectors: usize,
    table_sectors: usize,
    program: usize,
}

impl Volume {
    fn new(program_len: usize) -> Result<Volume, DiskError> {
        let range = Role::Esp.range(0);
        let sectors = ((range.end - range.start) / SECTOR) as usize;
        let needed = sectors - RESERVED + FIRST_CLUSTER;
        let table_sectors = needed.div_ceil(ENTRIES_PER_SECTOR + TABLES);
        let volume = Volume { sectors, table_sectors, program: program_len.div_ceil(SECTOR_LEN) };
        if program_len == 0 || volume.used() > volume.clusters() {
            let reason = format!("{program_len} bytes are no program for a partition of {sectors} sectors");
            return Err(DiskError::BootFile { file: super::BootFiles::EFI, reason });
        }
        Ok(volume)
    }

    fn clusters(&self) -> usize {
        self.sectors - RESERVED - TABLES * self.table_sectors
    }

    fn used(&self) -> usize {
        PROGRAM as usize - FIRST_CLUSTER + self.program
    }

    fn boot_sector(&self, volume_id: u32) -> Vec<u8> {
        let mut bytes = vec![0xeb, 0x58, 0x90];
        bytes.extend(b"IBUILD  ");
        bytes.extend((SECTOR as u16).to_le_bytes());
        bytes.push(1);
        bytes.extend((RESERVED as u16).to_le_bytes());
        bytes.push(TABLES as u8);
        bytes.extend([0; 4]);
        bytes.push(0xf8);
        bytes.extend([0; 2]);
        for geometry in [63u16, 255] {
            bytes.extend(geometry.to_le_bytes());
        }
        let hidden = Role::Esp.range(0).start / SECTOR;
        for field in [hidden as u32, self.sectors as u32, self.table_sectors as u32, 0, FIRST_CLUSTER as u32]
        {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend([1, 0, 6, 0]);
        bytes.extend([0; 12]);
        bytes.extend([0x80, 0, 0x29]);
        bytes.extend(volume_id.to_le_bytes());
        bytes.extend(LABEL);
        bytes.extend(b"FAT32   ");
        sealed(bytes)
    }

    fn info_sector(&self) -> Vec<u8> {
        let mut bytes = b"RRaA".to_vec();
        bytes.resize(484, 0);
        bytes.extend(b"rrAa");
        bytes.extend(((self.clusters() - self.used()) as u32).to_le_bytes());
        bytes.extend(((FIRST_CLUSTER + self.used()) as u32).to_le_bytes());
        sealed(bytes)
    }

    fn table(&self) -> Vec<u8> {
        let mut entries = vec![0x0fff_fff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
        let last = PROGRAM + self.program as u32 - 1;
        entries.extend(PROGRAM + 1..=last);
        entries.push(END_OF_CHAIN);
        let mut bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        bytes.resize(self.table_sectors * SECTOR_LEN, 0);
        bytes
    }
}

/// A sector with the signature that boot and FSInfo sectors share.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(SECTOR_LEN, 0);
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend([attributes, 0, 0, 0, 0]);
    bytes.extend(DATE.to_le_bytes());
    bytes.extend(DATE.to_le_bytes());
    bytes.extend(((cluster >> 16) as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(DATE.to_le_bytes());
    bytes.extend((cluster as u16).to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

fn child_directory(own: u32, parent: u32, child: Vec<u8>) -> Vec<u8> {
    let dot = entry(b".          ", ATTR_DIRECTORY, own, 0);
    let dot_dot = entry(b"..         ", ATTR_DIRECTORY, parent, 0);
    directory(&[dot, dot_dot, child])
}

fn directory(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(SECTOR_LEN, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn program() -> Vec<u8> {
        (0..700_001u32).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let (a, b) = (format_esp(&program(), 7).unwrap(), format_esp(&program(), 7).unwrap());
        assert!(a == b);
        assert!(a != format_esp(&program(), 8).unwrap());
    }

    #[test]
    fn fsck_and_mtools_find_it_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format_esp(&program(), 0xdead_beef).unwrap()).unwrap();
        file.as_file().set_len(62 << 20).unwrap();
        let fsck = Command::new("/usr/sbin/fsck.fat").arg("-nv").arg(file.path()).output();
        let fsck = fsck.expect("these tests need `fsck.fat` (package dosfstools)");
        let said = String::from_utf8_lossy(&fsck.stdout).into_owned();
        assert!(fsck.status.success() && said.contains("4 files, 1371/"), "{said}");
        assert!(!said.contains("ree cluster summary "), "{said}");
        let mcopy =
            Command::new("mcopy").arg("-i").arg(file.path()).args(["::/EFI/BOOT/BOOTX64.EFI", "-"]).output();
        let mcopy = mcopy.expect("these tests need `mcopy` (package mtools)");
        assert!(mcopy.stdout == program(), "{}", String::from_utf8_lossy(&mcopy.stderr));
    }

    #[test]
    fn another_reader_agrees() {
        let mut disk = format_esp(&program(), 7).unwrap();
        disk.resize(62 << 20, 0);
        let fs = fatfs::FileSystem::new(std::io::Cursor::new(disk), fatfs::FsOptions::new()).unwrap();
        assert_eq!((fs.fat_type(), fs.volume_id()), (fatfs::FatType::Fat32, 7));
        let mut content = Vec::new();
        let mut file = fs.root_dir().open_file("efi/boot/bootx64.efi").unwrap();
        std::io::Read::read_to_end(&mut file, &mut content).unwrap();
        assert!(content == program());
    }

    #[test]
    fn a_program_that_does_not_fit_is_an_error() {
        for length in [0, 62 << 20] {
            let text = format_esp(&vec![1; length], 1).unwrap_err().to_string();
            assert!(text.starts_with("cannot use GRUB's `BOOTX64.EFI`"), "{text}");
        }
    }
}
