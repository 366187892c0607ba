//! The machine in VirtualBox's own words, inside the OVF.
//!
//! VirtualBox takes this section instead of the OVF's hardware. It is not a nicety: without it, a network
//! of any name but a few is imported as *bridged*, which would put an isolated machine onto the
//! importer's network.

use crate::disk::spec::{Firmware, Nic};

use super::ovf::OvfMachine;
use super::xml::Xml;

/// The settings version that VirtualBox 7 writes; older releases of it read it too.
const SETTINGS_VERSION: &str = "1.19-linux";

/// Writes the section. Whatever does not understand it may leave it out (`ovf:required="false"`).
pub fn machine(xml: &mut Xml, machine: &OvfMachine<'_>, epoch: u64) {
    let id = machine.disk.identity();
    xml.element(
        "vbox:Machine",
        &[
            ("ovf:required", "false"),
            ("version", SETTINGS_VERSION),
            ("uuid", &format!("{{{}}}", id.machine())),
            ("name", &machine.disk.name),
            ("OSType", "Debian_64"),
            ("snapshotFolder", "Snapshots"),
            ("lastStateChange", &utc(epoch)),
        ],
        |xml| {
            xml.text("ovf:Info", "Complete VirtualBox machine configuration in VirtualBox format");
            xml.element("Hardware", &[], |xml| hardware(xml, machine));
        },
    );
}

fn hardware(xml: &mut Xml, machine: &OvfMachine<'_>) {
    let vm = machine.vm;
    xml.empty("Memory", &[("RAMSize", &vm.memory_mib.to_string())]);
    boot_order(xml);
    xml.empty("Display", &[("controller", "VMSVGA"), ("VRAMSize", &vm.vram_mib.to_string())]);
    if !machine.disk.firmware.contains(Firmware::Bios) {
        xml.empty("Firmware", &[("type", "EFI")]);
    }
    xml.element("BIOS", &[], |xml| xml.empty("IOAPIC", &[("enabled", "true")]));
    network(xml, machine);
    xml.empty("Clipboard", &[("mode", "Disabled")]);
    xml.empty("DragAndDrop", &[("mode", "Disabled")]);
    storage(xml, machine);
    xml.empty("RTC", &[("localOrUTC", "UTC")]);
    xml.element("CPU", &[("count", &vm.cpus.to_string())], |xml| {
        xml.empty("PAE", &[("enabled", "true")]);
        xml.empty("LongMode", &[("enabled", "true")]);
    });
}

fn boot_order(xml: &mut Xml) {
    xml.element("Boot", &[], |xml| {
        for (position, device) in [("1", "HardDisk"), ("2", "None"), ("3", "None"), ("4", "None")] {
            xml.empty("Order", &[("position", position), ("device", device)]);
        }
    });
}

fn network(xml: &mut Xml, machine: &OvfMachine<'_>) {
    xml.element("Network", &[], |xml| {
        for (slot, nic) in machine.vm.nics.iter().enumerate() {
            let mac = machine.disk.identity().mac(slot).plain();
            let attributes = [
                ("slot", slot.to_string()),
                ("enabled", "true".into()),
                ("MACAddress", mac),
                ("type", "82540EM".into()),
            ];
            let attributes = attributes.each_ref().map(|(name, value)| (*name, value.as_str()));
            match nic {
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
    let uuid = format!("{{{}}}", machine.disk.identity().medium());
    let controller = [
        ("name", "SATA"),
        ("type", "AHCI"),
        ("PortCount", "4"),
        ("useHostIOCache", "false"),
        ("Bootable", "true"),
        ("IDE0MasterEmulationPort", "0"),
        ("IDE0SlaveEmulationPort", "1"),
        ("IDE1MasterEmulationPort", "2"),
        ("IDE1SlaveEmulationPort", "3"),
    ];
    let device = [("type", "HardDisk"), ("hotpluggable", "false"), ("port", "0"), ("device", "0")];
    xml.element("StorageControllers", &[], |xml| {
        xml.element("StorageController", &controller, |xml| {
            xml.element("AttachedDevice", &device, |xml| xml.empty("Image", &[("uuid", &uuid)]));
        });
    });
}

/// `YYYY-MM-DDThh:mm:ssZ`. The days are counted in eras of 400 years that begin on a first of March, so
/// that the leap day is the last of its year (H. Hinnant, "chrono-compatible low-level date algorithms").
fn utc(epoch: u64) -> String {
    let (days, seconds) = (epoch / 86_400 + 719_468, epoch % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_those_of_date() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (epoch, text) in cases {
            assert_eq!(utc(epoch), text);
        }
    }
}
