//! The description of machines: OVF 1.0 (DSP0243 1.1), as a pure function of their specs.
//!
//! The order of things matters to strict readers: `Info` first in every section, the children of an
//! `Item` in alphabetical order (their schema is a sequence). OVF 2.0 would be refused by VMware and Proxmox.

use crate::spec::{DiskSpec, Nic, VmSpec};
use ibuild_spec::MIB;
use ibuild_spec::hardware::{Audio, DiskBus, Firmware, VmTexts};

use super::machine::OvfMachine;
use super::vbox;
use super::xml::{Attributes, Xml};

const NAMESPACES: Attributes<'static> = &[
    ("ovf:version", "1.0"),
    ("xml:lang", "en-US"),
    ("xmlns", "http://schemas.dmtf.org/ovf/envelope/1"),
    ("xmlns:ovf", "http://schemas.dmtf.org/ovf/envelope/1"),
    ("xmlns:rasd", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"),
    ("xmlns:vssd", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"),
    ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    ("xmlns:vbox", "http://www.virtualbox.org/ovf/machine"),
    ("xmlns:vmw", "http://www.vmware.com/schema/ovf"),
];

/// VMware wants exactly this spelling.
const STREAM_OPTIMIZED: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// CIM's numbers of resource types (DSP8023, CIM_ResourceAllocationSettingData).
const CPU: &str = "3";
const MEMORY: &str = "4";
const IDE_CONTROLLER: &str = "5";
const SCSI_CONTROLLER: &str = "6";
const ETHERNET: &str = "10";
const DISK: &str = "17";
const OTHER_STORAGE: &str = "20";
const SOUND_CARD: &str = "35";

/// Instance ids; adapters follow.
const CONTROLLER_ID: &str = "3";
const FIRST_NIC_ID: usize = 5;

/// File name of a machine's disk inside an OVA.
pub fn vmdk_name(disk: &DiskSpec) -> String {
    format!("{}-disk001.vmdk", disk.name)
}

/// The OVF document. One machine is a `VirtualSystem`; several are a `VirtualSystemCollection` called `name`.
pub fn ovf_text(name: &str, epoch: u64, machines: &[OvfMachine<'_>]) -> String {
    let mut xml = Xml::new();
    xml.element("Envelope", NAMESPACES, |xml| {
        references(xml, machines);
        disk_section(xml, machines);
        network_section(xml, machines);
        match machines {
            [_] => virtual_system(xml, 0, machines, epoch),
            _ => xml.element("VirtualSystemCollection", &[("ovf:id", name)], |xml| {
                xml.text("Info", "Machines that belong together");
                xml.text("Name", name);
                for index in 0..machines.len() {
                    virtual_system(xml, index, machines, epoch);
                }
            }),
        }
    });
    xml.finish()
}

fn file_id(index: usize) -> String {
    format!("file{}", index + 1)
}

fn disk_id(index: usize) -> String {
    format!("vmdisk{}", index + 1)
}

fn references(xml: &mut Xml, machines: &[OvfMachine<'_>]) {
    xml.element("References", &[], |xml| {
        for (index, machine) in machines.iter().enumerate() {
            let (href, size) = (vmdk_name(machine.disk), machine.vmdk_size.to_string());
            xml.empty("File", &[("ovf:href", &href), ("ovf:id", &file_id(index)), ("ovf:size", &size)]);
        }
    });
}

/// Proxmox takes a size only with units of the form `byte * 2^N`.
fn disk_section(xml: &mut Xml, machines: &[OvfMachine<'_>]) {
    xml.element("DiskSection", &[], |xml| {
        xml.text("Info", "Virtual disks");
        for (index, machine) in machines.iter().enumerate() {
            xml.empty(
                "Disk",
                &[
                    ("ovf:capacity", &(machine.disk.size / MIB).to_string()),
                    ("ovf:capacityAllocationUnits", "byte * 2^20"),
                    ("ovf:diskId", &disk_id(index)),
                    ("ovf:fileRef", &file_id(index)),
                    ("ovf:format", STREAM_OPTIMIZED),
                    ("vbox:uuid", &machine.disk.medium().to_string()),
                ],
            );
        }
    });
}

/// Every network that an adapter names has to be listed once.
fn network_section(xml: &mut Xml, machines: &[OvfMachine<'_>]) {
    let mut names: Vec<&str> = Vec::new();
    let adapters = machines.iter().flat_map(|machine| &machine.vm.nics);
    for name in adapters.filter_map(|adapter| network_name(&adapter.network)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return;
    }
    xml.element("NetworkSection", &[], |xml| {
        xml.text("Info", "Networks of the machines");
        for name in names {
            xml.element("Network", &[("ovf:name", name)], |xml| {
                xml.text("Description", "Network used by the machines of this appliance");
            });
        }
    });
}

fn network_name(nic: &Nic) -> Option<&str> {
    match nic {
        Nic::Nat => Some("NAT"),
        Nic::Internal(name) => Some(name),
        Nic::None => None,
    }
}

/// A licence that an earlier machine has, too, is told once: nobody has to accept a text twice.
fn virtual_system(xml: &mut Xml, index: usize, machines: &[OvfMachine<'_>], epoch: u64) {
    let machine = &machines[index];
    let name = machine.disk.name.as_str();
    let eula = machine.vm.texts.eula.as_deref();
    let is_told = |eula: &&str| machines[..index].iter().any(|m| m.vm.texts.eula.as_deref() == Some(*eula));
    let eula = eula.filter(|eula| !is_told(eula));
    xml.element("VirtualSystem", &[("ovf:id", name)], |xml| {
        xml.text("Info", "A virtual machine");
        xml.text("Name", machine.shown_name());
        operating_system(xml);
        texts(xml, &machine.vm.texts);
        if let Some(eula) = eula {
            xml.element("EulaSection", &[], |xml| {
                xml.text("Info", "License agreement for the virtual system");
                xml.text("License", eula);
            });
        }
        hardware(xml, index, machine);
        vbox::machine(xml, machine, epoch);
    });
}

fn texts(xml: &mut Xml, texts: &VmTexts) {
    // Their order is the schema's.
    let product = [
        ("Product", &texts.product),
        ("Vendor", &texts.vendor),
        ("Version", &texts.version),
        ("ProductUrl", &texts.product_url),
        ("VendorUrl", &texts.vendor_url),
    ];
    if product.iter().any(|(_, text)| text.is_some()) {
        xml.element("ProductSection", &[], |xml| {
            xml.text("Info", "Meta-information about the installed software");
            for (name, text) in product {
                text.iter().for_each(|text| xml.text(name, text));
            }
        });
    }
    if let Some(description) = &texts.description {
        xml.element("AnnotationSection", &[], |xml| {
            xml.text("Info", "About this machine");
            xml.text("Annotation", description);
        });
    }
}

/// 96 is "Debian 64-Bit" in CIM_OperatingSystem; VirtualBox refuses a machine without the number.
fn operating_system(xml: &mut Xml) {
    xml.element("OperatingSystemSection", &[("ovf:id", "96"), ("vmw:osType", "debian12_64Guest")], |xml| {
        xml.text("Info", "The kind of guest operating system");
        xml.text("Description", "Debian_64");
    });
}

/// `vmx-13` and `vmware.sata.ahci` are what VMware insists on; VirtualBox takes any type and knows this
/// subtype.
fn hardware(xml: &mut Xml, index: usize, machine: &OvfMachine<'_>) {
    xml.element("VirtualHardwareSection", &[], |xml| {
        xml.text("Info", "Virtual hardware");
        xml.element("System", &[], |xml| {
            xml.text("vssd:ElementName", "Virtual Hardware Family");
            xml.text("vssd:InstanceID", "0");
            xml.text("vssd:VirtualSystemIdentifier", machine.shown_name());
            xml.text("vssd:VirtualSystemType", "vmx-13");
        });
        processor_and_memory(xml, machine.vm);
        storage(xml, index, machine.vm.disk_bus);
        adapters(xml, machine);
        sound(xml, machine.vm);
        if machine.vm.firmware == Firmware::Uefi {
            let config = [("ovf:required", "false"), ("vmw:key", "firmware"), ("vmw:value", "efi")];
            xml.empty("vmw:Config", &config);
        }
    });
}

fn processor_and_memory(xml: &mut Xml, vm: &VmSpec) {
    item(
        xml,
        &[
            ("rasd:Description", "Number of virtual CPUs"),
            ("rasd:ElementName", &format!("{} virtual CPU", vm.cpus)),
            ("rasd:InstanceID", "1"),
            ("rasd:ResourceType", CPU),
            ("rasd:VirtualQuantity", &vm.cpus.to_string()),
        ],
    );
    item(
        xml,
        &[
            ("rasd:AllocationUnits", "byte * 2^20"),
            ("rasd:Description", "Memory size"),
            ("rasd:ElementName", &format!("{} MB of memory", vm.memory_mib)),
            ("rasd:InstanceID", "2"),
            ("rasd:ResourceType", MEMORY),
            ("rasd:VirtualQuantity", &vm.memory_mib.to_string()),
        ],
    );
}

/// VirtualBox knows VMware's names of its subtypes, and refuses any other of type 20 (`Main/xml/ovfreader.cpp`).
fn storage(xml: &mut Xml, index: usize, bus: DiskBus) {
    let (description, name, subtype, kind) = match bus {
        DiskBus::Sata => ("SATA controller", "sata0", "vmware.sata.ahci", OTHER_STORAGE),
        DiskBus::Ide => ("IDE controller", "ide0", "PIIX4", IDE_CONTROLLER),
        DiskBus::Scsi => ("SCSI controller", "scsi0", "lsilogic", SCSI_CONTROLLER),
        DiskBus::Nvme => ("NVMe controller", "nvme0", "vmware.nvme.controller", OTHER_STORAGE),
        DiskBus::Virtio => ("VirtIO controller", "virtio0", "VirtioSCSI", OTHER_STORAGE),
    };
    item(
        xml,
        &[
            ("rasd:Address", "0"),
            ("rasd:Description", description),
            ("rasd:ElementName", name),
            ("rasd:InstanceID", CONTROLLER_ID),
            ("rasd:ResourceSubType", subtype),
            ("rasd:ResourceType", kind),
        ],
    );
    item(
        xml,
        &[
            ("rasd:AddressOnParent", "0"),
            ("rasd:Description", "Disk image"),
            ("rasd:ElementName", "disk1"),
            ("rasd:HostResource", &format!("ovf:/disk/{}", disk_id(index))),
            ("rasd:InstanceID", "4"),
            ("rasd:Parent", CONTROLLER_ID),
            ("rasd:ResourceType", DISK),
        ],
    );
}

/// Not required, because some hypervisors have none. What it is called is all that VirtualBox writes itself.
fn sound(xml: &mut Xml, vm: &VmSpec) {
    if vm.audio == Audio::None {
        return;
    }
    let id = (FIRST_NIC_ID + vm.nics.len()).to_string();
    let children = [
        ("rasd:AutomaticAllocation", "false"),
        ("rasd:Description", "Sound card"),
        ("rasd:ElementName", "sound"),
        ("rasd:InstanceID", id.as_str()),
        ("rasd:ResourceSubType", "ensoniq1371"),
        ("rasd:ResourceType", SOUND_CARD),
    ];
    item_with(xml, &[("ovf:required", "false")], &children);
}

/// An adapter without a network has no item: readers other than VirtualBox would connect it to something. An address that
/// the recipe does not give is VirtualBox's alone.
fn adapters(xml: &mut Xml, machine: &OvfMachine<'_>) {
    for (slot, adapter, mac) in machine.adapters() {
        let Some(network) = network_name(&adapter.network) else {
            continue;
        };
        let mac = adapter.mac.map(|_| mac.to_string());
        let address = mac.iter().map(|mac| ("rasd:Address", mac.as_str()));
        let (slot_text, name) = (slot.to_string(), format!("ethernet{slot}"));
        let id = (FIRST_NIC_ID + slot).to_string();
        let children = [
            ("rasd:AddressOnParent", slot_text.as_str()),
            ("rasd:AutomaticAllocation", "true"),
            ("rasd:Connection", network),
            ("rasd:Description", "Network adapter"),
            ("rasd:ElementName", name.as_str()),
            ("rasd:InstanceID", id.as_str()),
            ("rasd:ResourceSubType", "E1000"),
            ("rasd:ResourceType", ETHERNET),
        ];
        item(xml, &address.chain(children).collect::<Vec<_>>());
    }
}

fn item(xml: &mut Xml, children: Attributes<'_>) {
    item_with(xml, &[], children);
}

fn item_with(xml: &mut Xml, attributes: Attributes<'_>, children: Attributes<'_>) {
    debug_assert!(children.is_sorted_by_key(|(name, _)| *name));
    xml.element("Item", attributes, |xml| {
        for (name, text) in children {
            xml.text(name, text);
        }
    });
}
