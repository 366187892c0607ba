//! `[image.NAME]` and `[test.NAME]`.

use std::collections::{BTreeMap, BTreeSet};

use super::{all, optional};
use crate::recipe::draft::{DraftImage, DraftTest};
use crate::recipe::image::{Disk, Firmware, Image, ImageFormat, MachineTest, Nic, Vm};
use crate::recipe::names::{ImageName, MachineName, TestName};
use crate::recipe::report::Problem;
use crate::recipe::suggest;
use crate::recipe::units::{ByteSize, parse_duration};
use crate::recipe::values::{At, Node, Table};

/// Formats that are part of the language to come.
const PLANNED: [&str; 3] = ["vdi", "raw.zst", "oci"];

pub(super) fn image(name: &ImageName, node: Node<'_>) -> Option<DraftImage> {
    let what = format!("`[image.{name}]`");
    let table = node.table(&what, &["rootfs", "formats", "disk", "vm", "machines"])?;
    if let Some((key, _)) = table.entries().into_iter().find(|(key, _)| key.value == "machines") {
        let problem = Problem::at(key.at, "several machines in one image are not supported yet");
        table.push(problem.hint("make an image of each machine"));
        return None;
    }
    let rootfs = table.require(&what, "rootfs", "write `rootfs = \"...\"`, the name of a `[rootfs.NAME]`");
    let rootfs = rootfs.and_then(Node::parsed);
    let formats = table.require(&what, "formats", "write `formats = [\"ova\"]`").and_then(formats);
    let without = formats.as_ref().is_some_and(|all| all.iter().all(|format| !format.needs_disk()));
    let disk = match table.get("disk") {
        None if without => Some(None),
        _ => table.require(&what, "disk", "write `disk = { size = \"8 GiB\" }`").and_then(disk).map(Some),
    };
    let vm = optional(&table, "vm", vm);
    let At { value: rootfs, at: rootfs_at } = rootfs?;
    let image =
        Image { name: name.clone(), rootfs, formats: formats?, disk: disk?, vm: vm?.unwrap_or_default() };
    Some(DraftImage { image, rootfs_at })
}

fn formats(node: Node<'_>) -> Option<Vec<ImageFormat>> {
    let nodes = node.filled_array("formats")?;
    let formats = all(nodes.clone(), format)?;
    let twice = (1..formats.len()).find(|later| formats[..*later].contains(&formats[*later]));
    if let Some(twice) = twice {
        node.push(nodes[twice].problem(format!("format `{}` is listed twice", formats[twice])));
        return None;
    }
    Some(formats)
}

fn format(node: Node<'_>) -> Option<ImageFormat> {
    let text = node.text()?.value;
    let found = ImageFormat::from_extension(&text);
    if found.is_none() && PLANNED.contains(&text.as_str()) {
        node.push(node.problem(format!("format `{text}` is not supported yet")));
    } else if found.is_none() {
        let hint = suggest::hint(&text, ImageFormat::ALL.into_iter().map(ImageFormat::extension));
        node.push(node.problem(format!("`{text}` is not a format")).hint_if(hint));
    }
    found
}

fn disk(node: Node<'_>) -> Option<Disk> {
    let table = node.table("`disk`", &["size", "firmware", "fs-uuid", "cmdline"])?;
    let size = table.require("`disk`", "size", "write `size = \"8 GiB\"`").and_then(disk_size);
    let firmware = match table.get("firmware") {
        Some(node) => firmware(node),
        None => Some(BTreeSet::from([Firmware::Bios, Firmware::Uefi])),
    };
    let fs_uuid = optional(&table, "fs-uuid", uuid);
    let cmdline = optional(&table, "cmdline", one_line);
    Some(Disk { size: size?, firmware: firmware?, fs_uuid: fs_uuid?, cmdline: cmdline? })
}

/// Disks are made of sectors.
fn disk_size(node: Node<'_>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?.value;
    if size.0.is_multiple_of(512) {
        return Some(size);
    }
    node.push(
        node.problem(format!("a disk of {size} does not end with a sector"))
            .hint("use `KiB`, `MiB` or `GiB`"),
    );
    None
}

fn firmware(node: Node<'_>) -> Option<BTreeSet<Firmware>> {
    const WORDS: [(&str, Firmware); 2] = [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];
    let nodes = node.filled_array("firmware")?;
    all(nodes, |node| node.word("firmware", &WORDS)).map(|words| words.into_iter().collect())
}

fn uuid(node: Node<'_>) -> Option<uuid::Uuid> {
    let text = node.text()?.value;
    let uuid = uuid::Uuid::try_parse(&text).ok().filter(|uuid| !uuid.is_nil());
    if uuid.is_none() {
        let problem = node.problem(format!("`{text}` is not a UUID"));
        node.push(problem.hint("UUIDs are written like `26ada0c0-1165-4098-884d-aafd2220c2c6`"));
    }
    uuid
}

/// The kernel's command line is one line of the boot loader's configuration.
fn one_line(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    if text.contains(char::is_control) {
        node.push(node.problem("the command line contains a control character"));
        return None;
    }
    Some(text)
}

fn vm(node: Node<'_>) -> Option<Vm> {
    let table = node.table("`vm`", &["cpus", "memory", "nics"])?;
    let default = Vm::default();
    let cpus = optional(&table, "cpus", cpus);
    let memory = optional(&table, "memory", |node| node.parsed().map(|size| size.value));
    let nics = optional(&table, "nics", |node| all(node.array()?, nic));
    Some(Vm {
        cpus: cpus?.unwrap_or(default.cpus),
        memory: memory?.unwrap_or(default.memory),
        nics: nics?.unwrap_or(default.nics),
    })
}

fn cpus(node: Node<'_>) -> Option<u32> {
    let number = node.integer()?;
    let cpus = u32::try_from(number).ok().filter(|cpus| (1..=256).contains(cpus));
    if cpus.is_none() {
        node.push(node.problem(format!("a machine cannot have {number} processors")).hint("from 1 to 256"));
    }
    cpus
}

fn nic(node: Node<'_>) -> Option<Nic> {
    let text = node.text()?.value;
    let nic = match (text.as_str(), text.strip_prefix("internal:")) {
        ("nat", _) => Some(Nic::Nat),
        ("none", _) => Some(Nic::None),
        (_, Some(network)) if network_name(network) => Some(Nic::Internal(network.to_owned())),
        _ => None,
    };
    if nic.is_none() {
        let problem = node.problem(format!("`{text}` is not a network card"));
        node.push(problem.hint("cards are `\"nat\"`, `\"internal:NETWORK\"` or `\"none\"`"));
    }
    nic
}

/// Becomes a part of XML and of command lines of virtual machine monitors.
fn network_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

pub(super) fn test(name: &TestName, node: Node<'_>) -> Option<DraftTest> {
    let what = format!("`[test.{name}]`");
    let table = node.table(&what, &["machines", "expect", "timeout"])?;
    let machines = table.require(&what, "machines", "write `machines = { vm = \"IMAGE\" }`");
    let machines = machines.and_then(|node| machines_of(&node.entries()?));
    let expect = optional(&table, "expect", |node| node.text().map(|text| text.value));
    let timeout = optional(&table, "timeout", |node| node.parsed_by(parse_duration).map(|time| time.value));
    let (machines, images) = machines?;
    let test = MachineTest { name: name.clone(), machines, expect: expect?, timeout: timeout? };
    Some(DraftTest { test, images })
}

type Machines = (BTreeMap<MachineName, ImageName>, Vec<At<ImageName>>);

fn machines_of(table: &Table<'_>) -> Option<Machines> {
    let mut machines = Machines::default();
    let entries = table.entries();
    for (name, node) in table.named::<MachineName>() {
        if let Some(image) = node.parsed::<ImageName>() {
            machines.0.insert(name.value, image.value.clone());
            machines.1.push(image);
        }
    }
    if entries.is_empty() {
        table.push(Problem::at(table.span(), "the test has no machines"));
    }
    (machines.1.len() == entries.len() && !entries.is_empty()).then_some(machines)
}
