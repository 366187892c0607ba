//! What a disk and a machine are to be, as plain data. Everything else in this module is a function of it.

use uuid::Uuid;

use super::error::DiskError;
use super::identity::Identity;
use crate::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing, VmTexts};

/// One mebibyte in bytes: the alignment of everything on a disk.
pub const MIB: u64 = 1 << 20;

/// The smallest disk there can be, in bytes: 64 MiB before the root partition, 32 MiB of it, 1 MiB behind.
pub const SMALLEST_DISK: u64 = 97 * MIB;

/// The firmwares that a disk can be started by. There is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FirmwareSet {
    /// BIOS only.
    Bios,
    /// UEFI only.
    Uefi,
    /// Either.
    Both,
}

impl FirmwareSet {
    /// The set of these; none if there are none.
    pub fn of(firmwares: impl IntoIterator<Item = Firmware>) -> Option<Self> {
        firmwares.into_iter().map(FirmwareSet::from).reduce(|a, b| if a == b { a } else { FirmwareSet::Both })
    }

    /// Whether the disk is to be started by this firmware.
    pub fn contains(self, firmware: Firmware) -> bool {
        self == FirmwareSet::Both || self == FirmwareSet::from(firmware)
    }
}

impl From<Firmware> for FirmwareSet {
    fn from(firmware: Firmware) -> Self {
        match firmware {
            Firmware::Bios => FirmwareSet::Bios,
            Firmware::Uefi => FirmwareSet::Uefi,
        }
    }
}

/// A bootable disk: one root file system, and what starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// The image's name: lower-case letters, digits, `.`, `_` and `-`. All identifiers derive from it, and
    /// files inside an OVA carry it.
    pub name: String,
    /// Virtual size in bytes, a multiple of one MiB.
    pub size: u64,
    /// The firmwares that can start it.
    pub firmware: FirmwareSet,
    /// UUID of the root file system.
    pub fs_uuid: Uuid,
    /// Added to the end of the kernel's command line. One line without quotes or backslashes.
    pub cmdline: String,
    /// SOURCE_DATE_EPOCH, in seconds: the time of everything that has one.
    pub epoch: u64,
}

impl DiskSpec {
    /// A disk for either firmware, with the file system UUID that derives from its name.
    pub fn new(name: impl Into<String>, size: u64, epoch: u64) -> Self {
        let name = name.into();
        let fs_uuid = Identity::of(&name).file_system();
        DiskSpec { name, size, firmware: FirmwareSet::Both, fs_uuid, cmdline: String::new(), epoch }
    }

    /// The identifiers that belong to this image.
    pub fn identity(&self) -> Identity<'_> {
        Identity::of(&self.name)
    }

    /// Refuses what cannot become a disk.
    pub fn check(&self) -> Result<(), DiskError> {
        let wrong = |reason: String| Err(DiskError::Spec { image: self.name.clone(), reason });
        if !is_plain_name(&self.name) {
            return wrong(
                "its name may have letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
                    .into(),
            );
        }
        if !self.size.is_multiple_of(MIB) || self.size < SMALLEST_DISK {
            return wrong(format!(
                "the disk's size must be a multiple of 1 MiB and at least {} MiB",
                SMALLEST_DISK / MIB
            ));
        }
        if let Some(c) = self.cmdline.chars().find(|&c| !is_cmdline_char(c)) {
            return wrong(format!("the kernel command line cannot have {c:?}"));
        }
        Ok(())
    }
}

/// A virtual machine around a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Video memory in MiB.
    pub vram_mib: u32,
    /// What it starts with.
    pub firmware: Firmware,
    /// What the disk is attached to.
    pub disk_bus: DiskBus,
    /// Network adapters by slot, at most eight (VirtualBox's limit for its default chipset).
    pub nics: Vec<Nic>,
    /// The sound card.
    pub audio: Audio,
    /// What is shared of clipboards.
    pub clipboard: Sharing,
    /// What can be dragged to and from the machine.
    pub drag_and_drop: Sharing,
    /// What the hardware clock tells.
    pub clock: Clock,
    /// What it starts from, in this order.
    pub boot_order: Vec<BootDevice>,
    /// What people are told.
    pub texts: VmTexts,
}

impl VmSpec {
    /// A machine that starts with the BIOS from its SATA disk, with 16 MiB of video memory and nothing else.
    pub fn new(cpus: u32, memory_mib: u32) -> Self {
        VmSpec {
            cpus,
            memory_mib,
            vram_mib: 16,
            firmware: Firmware::Bios,
            disk_bus: DiskBus::Sata,
            nics: Vec::new(),
            audio: Audio::None,
            clipboard: Sharing::Disabled,
            drag_and_drop: Sharing::Disabled,
            clock: Clock::Utc,
            boot_order: vec![BootDevice::Disk],
            texts: VmTexts::default(),
        }
    }

    /// Refuses what no hypervisor would run. `image` is for the message.
    pub fn check(&self, image: &str) -> Result<(), DiskError> {
        let wrong =
            |reason: &str| Err(DiskError::Spec { image: image.to_owned(), reason: reason.to_owned() });
        if !(1..=64).contains(&self.cpus) {
            return wrong("a machine has 1 to 64 CPUs");
        }
        if !(32..=4 << 20).contains(&self.memory_mib) {
            return wrong("a machine has 32 MiB to 4 TiB of memory");
        }
        if !(1..=256).contains(&self.vram_mib) {
            return wrong("a machine has 1 to 256 MiB of video memory");
        }
        if self.nics.len() > 8 {
            return wrong("a machine has at most 8 network adapters");
        }
        if self.nics.iter().any(|nic| matches!(nic, Nic::Internal(name) if name.trim().is_empty())) {
            return wrong("an internal network needs a name");
        }
        Ok(())
    }
}

/// What a network adapter is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nic {
    /// The hypervisor's address translation: the guest reaches out, nothing reaches in.
    Nat,
    /// A network of this name among the machines of one host; the host is not on it.
    Internal(String),
    /// Nothing. The slot is kept, so that adapters behind it keep their numbers.
    None,
}

fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// GRUB and the kernel disagree on how quotes and backslashes are read, so neither may appear.
fn is_cmdline_char(c: char) -> bool {
    (' '..='~').contains(&c) && !"'\"\\".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> DiskSpec {
        DiskSpec::new("veil", 1024 * MIB, 1_767_225_600)
    }

    #[test]
    fn a_plain_disk_passes() {
        disk().check().unwrap();
    }

    #[test]
    fn bad_disks_are_refused_by_name() {
        let check = |change: fn(&mut DiskSpec), needle: &str| {
            let mut spec = disk();
            change(&mut spec);
            let text = spec.check().unwrap_err().to_string();
            assert!(text.contains(needle), "{text}");
        };
        check(|d| d.name = "../veil".into(), "its name");
        check(|d| d.name = String::new(), "its name");
        check(|d| d.size += 512, "multiple of 1 MiB");
        check(|d| d.size = 64 * MIB, "at least 97 MiB");
        check(|d| d.cmdline = "a\nb".into(), "'\\n'");
        check(|d| d.cmdline = "a='b'".into(), "command line");
    }

    #[test]
    fn bad_machines_are_refused() {
        let check = |change: fn(&mut VmSpec), needle: &str| {
            let mut spec = VmSpec::new(2, 2048);
            change(&mut spec);
            let text = spec.check("veil").unwrap_err().to_string();
            assert!(text.contains(needle), "{text}");
        };
        check(|vm| vm.cpus = 0, "CPUs");
        check(|vm| vm.memory_mib = 1, "memory");
        check(|vm| vm.vram_mib = 0, "video memory");
        check(|vm| vm.nics = vec![Nic::Nat; 9], "at most 8");
        check(|vm| vm.nics = vec![Nic::Internal(" ".into())], "needs a name");
    }

    #[test]
    fn firmware_sets_join() {
        use Firmware::{Bios, Uefi};
        assert_eq!(FirmwareSet::of([]), None);
        assert_eq!(FirmwareSet::of([Bios, Bios]), Some(FirmwareSet::Bios));
        assert_eq!(FirmwareSet::of([Uefi, Bios]), Some(FirmwareSet::Both));
        assert!(FirmwareSet::Both.contains(Uefi) && !FirmwareSet::Bios.contains(Uefi));
    }
}
