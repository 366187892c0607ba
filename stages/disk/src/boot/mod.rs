//! What starts a disk: GRUB's images, made by the GRUB that is in the root file system and placed by us.
//!
//! No loop device, no mount, no `grub-install`: a script makes the images inside the root file system's
//! sandbox ([`GrubPlan`]), and they are patched and laid down where firmware looks for them ([`BiosBoot`]
//! for the MBR and the BIOS boot partition, [`esp`] for UEFI).

mod bios;
mod esp;
mod grub;

use std::path::Path;

pub use bios::{BIOS_WRITER, BiosBoot};
pub use esp::{ESP_WRITER, format_esp};
pub use grub::{GRUB_WRITER, GrubPlan};
use serde::{Deserialize, Serialize};

use super::error::DiskError;
use super::spec::FirmwareSet;
use ibuild_spec::hardware::Firmware;

/// The images that start one disk, as the script made them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFiles {
    /// For the BIOS, if the disk can be started by it.
    pub bios: Option<BiosBoot>,
    /// The program for UEFI, if the disk can be started by it.
    pub uefi: Option<Vec<u8>>,
}

impl BootFiles {
    /// Name of the BIOS's first sector in the output directory of the script.
    pub const BOOT_IMG: &'static str = "boot.img";
    /// Name of GRUB's core image there.
    pub const CORE_IMG: &'static str = "core.img";
    /// Name of the program for UEFI there, which is also what firmware looks for.
    pub const EFI: &'static str = "BOOTX64.EFI";

    /// Reads what the script of a [`GrubPlan`] left in `dir`.
    pub fn read(dir: &Path, firmware: FirmwareSet) -> Result<BootFiles, DiskError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(DiskError::io("read GRUB's image", &path))
        };
        let mut files = BootFiles { bios: None, uefi: None };
        if firmware.contains(Firmware::Bios) {
            files.bios = Some(BiosBoot::new(read(Self::BOOT_IMG)?, read(Self::CORE_IMG)?)?);
        }
        if firmware.contains(Firmware::Uefi) {
            files.uefi = Some(read(Self::EFI)?);
        }
        Ok(files)
    }
}
