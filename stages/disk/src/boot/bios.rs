//! GRUB for the BIOS: patched so that the first sector finds the core image in its partition.

use serde::{Deserialize, Serialize};

use crate::error::DiskError;
use crate::gpt::{Role, SECTOR};
use ibuild_spec::MIB;

/// Bytes of the first sector that are code; the rest is the disk signature and the partition table.
const MBR_CODE: usize = 440;
/// Where `boot.img` keeps the sector of the core image (GRUB, `boot/i386/pc/boot.h`, kernel sector).
const KERNEL_SECTOR: usize = 0x5c;
/// Where `boot.img` jumps over its check for a BIOS that passes a wrong drive number. For hard disks the
/// jump becomes two no-operations, as GRUB's own installer does it.
const DRIVE_CHECK: usize = 0x66;
/// Where the core image's first sector keeps the sector of all the others (`boot/i386/pc/diskboot.h`,
/// the first block list, which grows down from the sector's end).
const BLOCK_LIST: usize = 0x1f4;
const NOP: u8 = 0x90;

/// Changes when the same images of GRUB are patched in another way. Belongs into the key of a disk.
pub const BIOS_WRITER: &str = "ibuild-bios 1";

/// GRUB's two images for the BIOS, known to have the right shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BiosBoot {
    boot_img: Vec<u8>,
    core_img: Vec<u8>,
}

impl BiosBoot {
    /// Takes `boot.img` and `core.img` as GRUB ships and makes them.
    pub fn new(boot_img: Vec<u8>, core_img: Vec<u8>) -> Result<BiosBoot, DiskError> {
        let wrong = |file, reason: String| Err(DiskError::BootFile { file, reason });
        if boot_img.len() != SECTOR as usize || boot_img[510..] != [0x55, 0xaa] {
            return wrong("boot.img", "it is not a boot sector".into());
        }
        if core_img.len() <= SECTOR as usize {
            return wrong("core.img", "it is shorter than two sectors".into());
        }
        if core_img.len() as u64 > MIB {
            return wrong("core.img", format!("{} bytes do not fit its partition of 1 MiB", core_img.len()));
        }
        Ok(BiosBoot { boot_img, core_img })
    }

    /// The code of the first sector, 440 bytes, pointing at the core image.
    pub fn mbr_code(&self) -> Vec<u8> {
        let mut code = self.boot_img[..MBR_CODE].to_vec();
        code[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_sector().to_le_bytes());
        code[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[NOP, NOP]);
        code
    }

    /// The core image, pointing at its own second sector. It belongs at the start of the BIOS boot partition.
    pub fn core(&self) -> Vec<u8> {
        let mut core = self.core_img.clone();
        core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(core_sector() + 1).to_le_bytes());
        core
    }
}

fn core_sector() -> u64 {
    // The partition's start does not depend on the disk's size.
    Role::BiosBoot.range(0).start / SECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot_img() -> Vec<u8> {
        let mut image = vec![0xcc; 512];
        image[510..].copy_from_slice(&[0x55, 0xaa]);
        image
    }

    #[test]
    fn the_images_point_at_each_other() {
        let boot = BiosBoot::new(boot_img(), vec![0xdd; 4096]).unwrap();
        let mbr = boot.mbr_code();
        assert_eq!(mbr.len(), 440);
        assert_eq!(mbr[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(mbr[0x64..0x69], [0xcc, 0xcc, 0x90, 0x90, 0xcc]);
        let core = boot.core();
        assert_eq!(core[0x1f4..0x1fc], 2049u64.to_le_bytes());
        assert_eq!((core[0x1f3], core[0x1fc], core.len()), (0xdd, 0xdd, 4096));
    }

    #[test]
    fn images_of_another_shape_are_refused() {
        let check = |boot: Vec<u8>, core_size: usize, needle: &str| {
            let text = BiosBoot::new(boot, vec![0; core_size]).unwrap_err().to_string();
            assert!(text.contains(needle), "{text}");
        };
        check(vec![0; 512], 4096, "not a boot sector");
        check(boot_img(), 512, "shorter");
        check(boot_img(), (1 << 20) + 1, "do not fit");
    }
}
