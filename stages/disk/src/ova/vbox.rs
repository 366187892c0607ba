//! The machine in VirtualBox's own words, inside the OVF.
//!
//! VirtualBox takes this section instead of the OVF's hardware. It is not a nicety: without it, a network
//! of any name but a few is imported as *bridged*, which would put an isolated machine onto the
//! importer's network.

use uuid::Uuid;

use crate::spec::{Nic, VmSpec};
use crate::time;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing};

use super::machine::OvfMachine;
use super::xml::{Attributes, Xml};

/// The settings version that VirtualBox 7 writes; older releases of it read it too.
const SETTINGS_VERSION: &str = "1.19-linux";

/// Writes the section. Whatever does not understand it may leave it out (`ovf:required="false"`).
pub fn machine(xml: &mut Xml, machine: &OvfMachine<'_>, epoch: u64) {
    xml.element(
        "vbox:Machine",
        &[
            ("ovf:required", "false"),
            ("version", SETTINGS_VERSION),
            ("uuid", &braced(machine.uuid())),
            ("name", machine.shown_name()),
            ("OSType", "Debian_64"),
            ("snapshotFolder", "Snapshots"),
            ("lastStateChange", &time::utc(epoch)),
        ],
        |xml| {
            xml.text("ovf:Info", "Complete VirtualBox machine configuration in VirtualBox format");
            extra_data(xml, machine.vm);
            // Without one VirtualBox gives the machine's own UUID to its system, which an import may change.
            let uuid = machine.vm.uuid.map(braced);
            let uuid: Vec<_> = uuid.iter().map(|uuid| ("uuid", uuid.as_str())).collect();
            xml.element("Hardware", &uuid, |xml| hardware(xml, machine));
        },
    );
}

fn extra_data(xml: &mut Xml, vm: &VmSpec) {
    if vm.virtualbox_extra.is_empty() {
        return;
    }
    xml.element("ExtraData", &[], |xml| {
        for (key, value) in &vm.virtualbox_extra {
            xml.empty("ExtraDataItem", &[("name", key), ("value", value)]);
        }
    });
}

fn braced(uuid: Uuid) -> String {
    format!("{{{uuid}}}")
}

fn hardware(xml: &mut Xml, machine: &OvfMachine<'_>) {
    let vm = machine.vm;
    xml.empty("Memory", &[("RAMSize", &vm.memory_mib.to_string())]);
    boot_order(xml, vm);
    xml.empty("Display", &[("controller", "VMSVGA"), ("VRAMSize", &vm.vram_mib.to_string())]);
    if vm.firmware == Firmware::Uefi {
        xml.empty("Firmware", &[("type", "EFI")]);
    }
    xml.element("BIOS", &[], |xml| xml.empty("IOAPIC", &[("enabled", "true")]));
    network(xml, machine);
    audio(xml, vm);
    xml.empty("Clipboard", &[("mode", sharing(vm.clipboard))]);
    xml.empty("DragAndDrop", &[("mode", sharing(vm.drag_and_drop))]);
    storage(xml, machine);
    let clock = match vm.clock {
        Clock::Utc => "UTC",
        Clock::Local => "local",
    };
    xml.empty("RTC", &[("localOrUTC", clock)]);
    xml.element("CPU", &[("count", &vm.cpus.to_string())], |xml| {
        xml.empty("PAE", &[("enabled", "true")]);
        xml.empty("LongMode", &[("enabled", "true")]);
    });
}

/// All four positions: one that is not told would keep its default, which is a floppy, a DVD or the disk.
fn boot_order(xml: &mut Xml, vm: &VmSpec) {
    let word = |device: &BootDevice| match device {
        BootDevice::Disk => "HardDisk",
        BootDevice::Dvd => "DVD",
        BootDevice::Network => "Network",
        BootDevice::Floppy => "Floppy",
    };
    let devices = vm.boot_order.iter().map(word).chain(std::iter::repeat("None"));
    xml.element("Boot", &[], |xml| {
        for (position, device) in ["1", "2", "3", "4"].into_iter().zip(devices) {
            xml.empty("Order", &[("position", position), ("device", device)]);
        }
    });
}

/// The machine never hears its host's microphone.
fn audio(xml: &mut Xml, vm: &VmSpec) {
    let controller = match vm.audio {
        Audio::None => return,
        Audio::Hda => "HDA",
        Audio::Ac97 => "AC97",
    };
    let attributes = [
        ("controller", controller),
        ("driver", "Default"),
        ("enabled", "true"),
        ("enabledIn", "false"),
        ("enabledOut", "true"),
    ];
    xml.empty("AudioAdapter", &attributes);
}

fn sharing(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Disabled => "Disabled",
        Sharing::HostToGuest => "HostToGuest",
        Sharing::GuestToHost => "GuestToHost",
        Sharing::Bidirectional => "Bidirectional",
    }
}

fn network(xml: &mut Xml, machine: &OvfMachine<'_>) {
    xml.element("Network", &[], |xml| {
        for (slot, adapter, mac) in machine.adapters() {
            let attributes = [
                ("slot", slot.to_string()),
                ("enabled", "true".into()),
                ("MACAddress", mac.plain()),
                ("type", "82540EM".into()),
            ];
            let attributes = attributes.each_ref().map(|(name, value)| (*name, value.as_str()));
            match &adapter.network {
                Nic::Nat => xml.element("Adapter", &attributes, |xml| xml.empty("NAT", &[])),
                Nic::Internal(name) => xml.element("Adapter", &attributes, |xml| {
                    xml.empty("InternalNetwork", &[("name", name)]);
                }),
                Nic::None => xml.empty("Adapter", &attributes),
            }
        }
    });
}

/// The image's UUID must be that of a `Disk` in the `DiskSection`, or the import ends with "describes no
/// such image".
fn storage(xml: &mut Xml, machine: &OvfMachine<'_>) {
    let uuid = braced(machine.disk.medium());
    let controller = controller(machine.vm.disk_bus);
    let device = [("type", "HardDisk"), ("hotpluggable", "false"), ("port", "0"), ("device", "0")];
    xml.element("StorageControllers", &[], |xml| {
        xml.element("StorageController", controller, |xml| {
            xml.element("AttachedDevice", &device, |xml| xml.empty("Image", &[("uuid", &uuid)]));
        });
    });
}

#[allow(clippy::too_many_lines, reason = "a table, one entry for each kind")]
fn controller(bus: DiskBus) -> Attributes<'static> {
    match bus {
        DiskBus::Sata => &[
            ("name", "SATA"),
            ("type", "AHCI"),
            ("PortCount", "4"),
            ("useHostIOCache", "false"),
            ("Bootable", "true"),
            ("IDE0MasterEmulationPort", "0"),
            ("IDE0SlaveEmulationPort", "1"),
            ("IDE1MasterEmulationPort", "2"),
            ("IDE1SlaveEmulationPort", "3"),
        ],
        DiskBus::Ide => &[
            ("name", "IDE"),
            ("type", "PIIX4"),
            ("PortCount", "2"),
            ("useHostIOCache", "true"),
            ("Bootable", "true"),
        ],
        DiskBus::Scsi => &[
            ("name", "SCSI"),
            ("type", "LsiLogic"),
            ("PortCount", "16"),
            ("useHostIOCache", "false"),
            ("Bootable", "true"),
        ],
        DiskBus::Nvme => &[
            ("name", "NVMe"),
            ("type", "NVMe"),
            ("PortCount", "1"),
            ("useHostIOCache", "false"),
            ("Bootable", "true"),
        ],
        DiskBus::Virtio => &[
            ("name", "VirtIO"),
            ("type", "VirtioSCSI"),
            ("PortCount", "1"),
            ("useHostIOCache", "false"),
            ("Bootable", "true"),
        ],
    }
}
