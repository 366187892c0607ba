//! The description in an OVA (OVF 1.0): order of the schema, references, and what VirtualBox and VMware insist on.

use std::collections::BTreeSet;

use super::xml::{Element, parse};
use super::{Broken, rule};

/// A disk that an OVF tells of.
pub struct ToldDisk {
    /// Its file.
    pub href: String,
    /// The file's bytes.
    pub size: u64,
    /// The disk's bytes.
    pub capacity: u64,
    /// The medium's UUID.
    pub uuid: String,
}

/// The disks of an OVF that is right, in the order of its references.
pub fn check_ovf(text: &str) -> Result<Vec<ToldDisk>, Broken> {
    let envelope = parse(text).ok_or("the OVF is XML")?;
    rule(
        envelope.name == "Envelope" && envelope.get("ovf:version") == Some("1.0"),
        "an envelope of OVF 1.0",
    )?;
    sections(&envelope)?;
    infos(&envelope)?;
    let disks = disks(&envelope)?;
    let mut systems = Vec::new();
    envelope.deep("VirtualSystem", &mut systems);
    for system in &systems {
        hardware(&envelope, system)?;
        virtualbox(system, &disks)?;
    }
    unique(&systems)?;
    Ok(disks)
}

fn sections(envelope: &Element) -> Result<(), Broken> {
    let names: Vec<&str> = envelope.children.iter().map(|child| child.name.as_str()).collect();
    let order = ["References", "DiskSection", "NetworkSection", "VirtualSystem", "VirtualSystemCollection"];
    let places: Option<Vec<_>> = names.iter().map(|name| order.iter().position(|it| it == name)).collect();
    let places = places.ok_or("known sections")?;
    rule(places.is_sorted_by(|a, b| a < b) && places.len() >= 3, "order of sections")
}

/// `Info` is the first child of every section.
fn infos(element: &Element) -> Result<(), Broken> {
    let is_section = element.name.ends_with("Section") || element.name.starts_with("VirtualSystem");
    let first = element.children.first().map(|child| child.name.as_str());
    rule(!is_section || element.children.is_empty() || first == Some("Info"), "sections begin with Info")?;
    element.children.iter().try_for_each(infos)
}

fn disks(envelope: &Element) -> Result<Vec<ToldDisk>, Broken> {
    let section = |name: &'static str| envelope.all(name).next().ok_or("order of sections");
    let (references, disks) = (section("References")?, section("DiskSection")?);
    let files: Vec<&Element> = references.all("File").collect();
    let disks: Vec<&Element> = disks.all("Disk").collect();
    rule(files.len() == disks.len(), "a disk for each file")?;
    let told = files.iter().map(|file| {
        let by = |disk: &&&Element| disk.get("ovf:fileRef") == file.get("ovf:id");
        let disk = disks.iter().find(by).ok_or("disks name their files")?;
        rule(disk.get("ovf:capacityAllocationUnits") == Some("byte * 2^20"), "units of the capacity")?;
        let format = disk.get("ovf:format").unwrap_or_default();
        rule(format.ends_with("vmdk.html#streamOptimized"), "format of the disk")?;
        let number = |element: &Element, name: &str| element.get(name).and_then(|it| it.parse::<u64>().ok());
        Ok(ToldDisk {
            href: file.get("ovf:href").ok_or("files have names")?.to_owned(),
            size: number(file, "ovf:size").ok_or("files have sizes")?,
            capacity: number(disk, "ovf:capacity").ok_or("disks have a capacity")? << 20,
            uuid: disk.get("vbox:uuid").ok_or("disks have a UUID")?.to_owned(),
        })
    });
    told.collect()
}

fn hardware(envelope: &Element, system: &Element) -> Result<(), Broken> {
    let kind = system.all("OperatingSystemSection").next().and_then(|it| it.get("ovf:id"));
    rule(kind == Some("96"), "the kind of guest")?;
    let hardware = system.all("VirtualHardwareSection").next().ok_or("there is hardware")?;
    let items: Vec<&Element> = hardware.all("Item").collect();
    let mut ids = BTreeSet::new();
    for item in &items {
        let names: Vec<&str> = item.children.iter().map(|child| child.name.as_str()).collect();
        rule(names.is_sorted_by(|a, b| a < b), "children of items are in alphabetical order")?;
        rule(ids.insert(item.text_of("rasd:InstanceID").ok_or("items have ids")?), "ids are unique")?;
        let parent = item.text_of("rasd:Parent");
        rule(parent.is_none_or(|parent| ids.contains(parent)), "parents come before their children")?;
    }
    let of =
        |kind: &'static str| items.iter().filter(move |it| it.text_of("rasd:ResourceType") == Some(kind));
    rule(of("3").count() == 1 && of("4").count() == 1, "one processor item and one of memory")?;
    let controllers = ["vmware.sata.ahci", "vmware.nvme.controller", "VirtioSCSI"];
    let is_known =
        |item: &&Element| item.text_of("rasd:ResourceSubType").is_some_and(|it| controllers.contains(&it));
    rule(of("20").all(is_known), "VirtualBox knows the controller")?;
    let memory = of("4").next().and_then(|it| it.text_of("rasd:AllocationUnits"));
    rule(memory == Some("byte * 2^20"), "units of the memory")?;
    let mut all = Vec::new();
    envelope.deep("Disk", &mut all);
    for disk in of("17") {
        let resource = disk.text_of("rasd:HostResource").and_then(|it| it.strip_prefix("ovf:/disk/"));
        let is_there = all.iter().any(|it| it.get("ovf:diskId") == resource && resource.is_some());
        rule(is_there && disk.text_of("rasd:Parent").is_some(), "disk items name their disks")?;
    }
    let mut networks = Vec::new();
    envelope.deep("Network", &mut networks);
    let listed = |name| networks.iter().any(|it| it.get("ovf:name") == Some(name));
    rule(of("10").all(|nic| nic.text_of("rasd:Connection").is_some_and(listed)), "networks are listed")
}

fn virtualbox(system: &Element, disks: &[ToldDisk]) -> Result<(), Broken> {
    let machine = system.all("vbox:Machine").next().ok_or("VirtualBox has its own section")?;
    rule(machine.get("ovf:required") == Some("false"), "others may leave VirtualBox's section out")?;
    rule(machine.get("name") == system.text_of("Name"), "the machine has one name")?;
    let (mut images, mut adapters, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    machine.deep("Image", &mut images);
    machine.deep("Adapter", &mut adapters);
    system.deep("Item", &mut connections);
    let uuid = |image: &&Element| image.get("uuid").map(|it| it.trim_matches(['{', '}']).to_owned());
    let known = |image: &&Element| uuid(image).is_some_and(|it| disks.iter().any(|disk| disk.uuid == it));
    rule(images.len() == 1 && images.iter().all(known), "VirtualBox's image is a disk of the OVF")?;
    let named = |name: &str| {
        adapters.iter().flat_map(|it| it.all("InternalNetwork")).any(|it| it.get("name") == Some(name))
    };
    let connections = connections.iter().filter_map(|item| item.text_of("rasd:Connection"));
    let told = connections.into_iter().all(|name| name == "NAT" || named(name));
    rule(told, "internal networks are told to VirtualBox, too")
}

/// What tells machines apart.
fn unique(systems: &[&Element]) -> Result<(), Broken> {
    let (mut macs, mut machines) = (BTreeSet::new(), BTreeSet::new());
    for system in systems {
        let machine = system.all("vbox:Machine").next().and_then(|it| it.get("uuid"));
        rule(machines.insert(machine), "machines have UUIDs of their own")?;
        let mut adapters = Vec::new();
        system.deep("Adapter", &mut adapters);
        for adapter in adapters {
            let mac = adapter.get("MACAddress").unwrap_or_default();
            let plain = mac.len() == 12 && mac.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
            let is_unicast =
                u8::from_str_radix(mac.get(..2).unwrap_or("01"), 16).is_ok_and(|byte| byte & 1 == 0);
            rule(plain && is_unicast, "MAC addresses are those of cards")?;
            rule(macs.insert(mac), "adapters have MAC addresses of their own")?;
        }
    }
    Ok(())
}
