//! `[image.NAME]`.

use std::collections::BTreeSet;

use ibuild_spec::ByteSize;
use ibuild_spec::bounds;
use ibuild_spec::hardware::Firmware;

use super::uuid::uuid;
use super::vm::vm;
use super::{all, optional};
use crate::draft::DraftImage;
use crate::image::{Appliance, Disk, Image, ImageFormat};
use crate::keys;
use crate::names::ImageName;
use crate::report::Problem;
use crate::source::At;
use crate::suggest;
use crate::values::{Node, Table};
use crate::vm::Vm;

const FORMATS: &str = "write `formats = [\"ova\"]`";

pub(super) fn image(name: &ImageName, node: Node<'_>) -> Option<DraftImage> {
    let what = format!("`[image.{name}]`");
    let table = node.table(&what, &keys::IMAGE)?;
    if let Some(machines) = table.get("machines") {
        node.fits(bounds::image_name(name.as_str()))?;
        return several(name, &what, &table, machines);
    }
    let rootfs = table.require(&what, "rootfs", "write `rootfs = \"...\"`, the name of a `[rootfs.NAME]`");
    let rootfs = rootfs.and_then(Node::parsed);
    let formats = table.require(&what, "formats", FORMATS).and_then(formats);
    let without = formats.as_ref().is_some_and(|all| all.iter().all(|format| !format.needs_disk()));
    let disk = match table.get("disk") {
        None if without => Some(None),
        _ => table.require(&what, "disk", "write `disk = { size = \"8 GiB\" }`").and_then(disk).map(Some),
    };
    if table.get("disk").is_some() {
        node.fits(bounds::image_name(name.as_str()))?;
    }
    let vm = match table.get("vm") {
        Some(node) => vm(node, disk.as_ref().and_then(Option::as_ref)),
        None => Some(Vm::default()),
    };
    let At { value: rootfs, at: rootfs_at } = rootfs?;
    let image = Image { name: name.clone(), rootfs, formats: formats?, disk: disk?, vm: vm? };
    Some(DraftImage::Single { image: Box::new(image), rootfs_at })
}

/// An image of several machines has nothing of its own: each of them is an image with its disk and hardware.
fn several(name: &ImageName, what: &str, table: &Table<'_>, machines: Node<'_>) -> Option<DraftImage> {
    for (key, _) in table.entries() {
        if ["rootfs", "disk", "vm"].contains(&key.value) {
            let message = format!("an image with `machines` has no `{}`", key.value);
            table.push(Problem::at(key.at, message).hint("each machine is an image that has its own"));
        }
    }
    let machines = machine_names(machines);
    let formats = table.require(what, "formats", FORMATS).and_then(formats_of_several);
    let (machines, formats) = (machines?, formats?);
    let names = machines.iter().map(|machine| machine.value.clone()).collect();
    let appliance = Appliance { name: name.clone(), machines: names, formats };
    Some(DraftImage::Several { appliance, machines })
}

fn formats_of_several(node: Node<'_>) -> Option<Vec<ImageFormat>> {
    let formats = formats(node)?;
    let Some(wrong) = formats.iter().find(|format| !format.holds_several()) else { return Some(formats) };
    let problem = node.problem(format!("format `{wrong}` holds one machine"));
    node.push(problem.hint("several machines go into `ova`"));
    None
}

fn machine_names(node: Node<'_>) -> Option<Vec<At<ImageName>>> {
    let machines =
        all(node.filled_array("machines", "write `machines = [\"IMAGE\"]`")?, Node::parsed::<ImageName>)?;
    for (index, machine) in machines.iter().enumerate() {
        if machines[..index].iter().any(|other| other.value == machine.value) {
            let message = format!("machine `{}` is listed twice", machine.value);
            node.push(Problem::at(machine.at.clone(), message));
            return None;
        }
    }
    Some(machines)
}

pub(super) fn formats(node: Node<'_>) -> Option<Vec<ImageFormat>> {
    let nodes = node.filled_array("formats", FORMATS)?;
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
    let found = text.parse();
    if let Err(error) = &found {
        let hint = suggest::hint(&text, ImageFormat::ALL.into_iter().map(ImageFormat::name));
        node.push(node.problem(format!("{error}")).hint_if(hint));
    }
    found.ok()
}

fn disk(node: Node<'_>) -> Option<Disk> {
    let table = node.table("`disk`", &keys::DISK)?;
    let size = table.require("`disk`", "size", "write `size = \"8 GiB\"`").and_then(disk_size);
    let firmware = match table.get("firmware") {
        Some(node) => firmware(node),
        None => Some(BTreeSet::from([Firmware::Bios, Firmware::Uefi])),
    };
    let disk_uuid = optional(&table, "uuid", uuid);
    let fs_uuid = optional(&table, "fs-uuid", uuid);
    let cmdline = optional(&table, "cmdline", command_line);
    Some(Disk { size: size?, firmware: firmware?, uuid: disk_uuid?, fs_uuid: fs_uuid?, cmdline: cmdline? })
}

fn disk_size(node: Node<'_>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?.value;
    node.fits(bounds::disk_size(size.0)).map(|()| size)
}

fn firmware(node: Node<'_>) -> Option<BTreeSet<Firmware>> {
    let nodes = node.filled_array("firmware", "write `firmware = [\"bios\", \"uefi\"]`")?;
    all(nodes, |node| node.word("firmware", Firmware::WORDS)).map(|words| words.into_iter().collect())
}

fn command_line(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    node.fits(bounds::cmdline(&text)).map(|()| text)
}
