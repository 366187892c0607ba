//! What a disk and a machine are to be, as plain data. Everything else in this module is a function of it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::error::DiskError;
use super::identity::Identity;
use ibuild_spec::Mac;
use ibuild_spec::bounds::{self, MIB};
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing, VmTexts};

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
    /// UUID of the disk, if the recipe gives one. See [`DiskSpec::table_guid`] and [`DiskSpec::medium`].
    pub uuid: Option<Uuid>,
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
        let cmdline = String::new();
        DiskSpec { name, size, firmware: FirmwareSet::Both, uuid: None, fs_uuid, cmdline, epoch }
    }

    /// GUID of the partition table.
    pub fn table_guid(&self) -> Uuid {
        self.uuid.unwrap_or_else(|| self.identity().disk())
    }

    /// UUID by which VirtualBox knows the disk as a medium.
    pub fn medium(&self) -> Uuid {
        self.uuid.unwrap_or_else(|| self.identity().medium())
    }

    /// The identifiers that derive from this image's name.
    pub fn identity(&self) -> Identity<'_> {
        Identity::of(&self.name)
    }

    /// Refuses what cannot become a disk.
    pub fn check(&self) -> Result<(), DiskError> {
        let unfit = |unfit| DiskError::Unfit { image: self.name.clone(), unfit };
        let fit = bounds::image_name(&self.name)
            .and_then(|()| bounds::disk_size(self.size))
            .and_then(|()| bounds::cmdline(&self.cmdline));
        fit.map_err(unfit)
    }
}

/// A virtual machine around a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// What hypervisors show it by; the image's name otherwise.
    pub name: Option<String>,
    /// What it is known by, to VirtualBox and to its own system; derived from the image's name otherwise, and then its system
    /// is told nothing.
    pub uuid: Option<Uuid>,
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
    pub nics: Vec<Adapter>,
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
    /// VirtualBox's extra data of the machine, by their keys.
    pub virtualbox_extra: BTreeMap<String, String>,
    /// What people are told.
    pub texts: VmTexts,
}

impl VmSpec {
    /// A machine that starts with the BIOS from its SATA disk, with 16 MiB of video memory and nothing else.
    pub fn new(cpus: u32, memory_mib: u32) -> Self {
        VmSpec {
            name: None,
            uuid: None,
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
            virtualbox_extra: BTreeMap::new(),
            texts: VmTexts::default(),
        }
    }

    /// Refuses what no hypervisor would run. `image` is for the message.
    pub fn check(&self, image: &str) -> Result<(), DiskError> {
        let fit = bounds::cpus(self.cpus.into())
            .and_then(|()| bounds::memory(u64::from(self.memory_mib) * MIB))
            .and_then(|()| bounds::video_memory(u64::from(self.vram_mib) * MIB))
            .and_then(|()| bounds::network_cards(self.nics.len()))
            .and_then(|()| self.name.as_deref().map_or(Ok(()), bounds::machine_name));
        fit.map_err(|unfit| DiskError::Unfit { image: image.to_owned(), unfit })?;
        let networks = self.nics.iter().map(|adapter| &adapter.network);
        if networks.into_iter().any(|nic| matches!(nic, Nic::Internal(name) if name.trim().is_empty())) {
            let reason = "an internal network needs a name".to_owned();
            return Err(DiskError::Spec { image: image.to_owned(), reason });
        }
        Ok(())
    }
}

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// What it is connected to.
    pub network: Nic,
    /// Its address; derived from the image's name and its slot otherwise.
    pub mac: Option<Mac>,
}

impl From<Nic> for Adapter {
    fn from(network: Nic) -> Self {
        Adapter { network, mac: None }
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
        check(|d| d.name = "../veil".into(), "cannot be that of a disk");
        check(|d| d.name = String::new(), "cannot be that of a disk");
        check(|d| d.size += 512, "no number of mebibytes");
        check(|d| d.size = 64 * MIB, "too small");
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
        check(|vm| vm.cpus = 0, "processors");
        check(|vm| vm.memory_mib = 1, "memory");
        check(|vm| vm.vram_mib = 0, "video memory");
        check(|vm| vm.name = Some("a/b".into()), "cannot be called");
        check(|vm| vm.nics = vec![Nic::Nat.into(); 9], "network cards");
        check(|vm| vm.nics = vec![Nic::Internal(" ".into()).into()], "needs a name");
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
