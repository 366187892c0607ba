//! `vm` of an image: the machine that it is meant for.

use std::collections::BTreeMap;

use ibuild_spec::ByteSize;
use ibuild_spec::bounds::{self, Unfit};
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing, VmTexts};

use super::network_card::network_cards;
use super::uuid::uuid;
use super::{all, optional};
use crate::image::Disk;
use crate::keys;
use crate::report::Problem;
use crate::source::At;
use crate::values::{Node, Table};
use crate::vm::Vm;

/// The machine around `disk`, if the disk could be read.
pub(super) fn vm(node: Node<'_>, disk: Option<&Disk>) -> Option<Vm> {
    let table = node.table("`vm`", &keys::VM)?;
    let default = Vm::default();
    let name = optional(&table, "name", machine_name);
    let uuid = optional(&table, "uuid", uuid);
    let cpus = optional(&table, "cpus", cpus);
    let memory = optional(&table, "memory", |node| amount(node, bounds::memory));
    let vram = optional(&table, "vram", |node| amount(node, bounds::video_memory));
    let firmware = optional(&table, "firmware", |node| firmware(node, disk));
    let disk_bus = optional(&table, "disk-bus", |node| node.word("disk bus", DiskBus::WORDS));
    let nics = optional(&table, "nics", network_cards);
    let audio = optional(&table, "audio", |node| node.word("sound card", Audio::WORDS));
    let sharing = |node: Node<'_>| node.word("way of sharing", Sharing::WORDS);
    let clipboard = optional(&table, "clipboard", sharing);
    let drag_and_drop = optional(&table, "drag-and-drop", sharing);
    let rtc = optional(&table, "rtc", |node| node.word("clock", Clock::WORDS));
    let boot_order = optional(&table, "boot-order", boot_order);
    let virtualbox_extra = optional(&table, "virtualbox-extra", extra_data);
    let texts = texts(&table);
    Some(Vm {
        name: name?,
        uuid: uuid?,
        cpus: cpus?.unwrap_or(default.cpus),
        memory: memory?.unwrap_or(default.memory),
        vram: vram?.unwrap_or(default.vram),
        firmware: firmware?,
        disk_bus: disk_bus?.unwrap_or(default.disk_bus),
        nics: nics?.unwrap_or(default.nics),
        audio: audio?.unwrap_or(default.audio),
        clipboard: clipboard?.unwrap_or(default.clipboard),
        drag_and_drop: drag_and_drop?.unwrap_or(default.drag_and_drop),
        rtc: rtc?.unwrap_or(default.rtc),
        boot_order: boot_order?.unwrap_or(default.boot_order),
        virtualbox_extra: virtualbox_extra?.unwrap_or_default(),
        texts: texts?,
    })
}

fn machine_name(node: Node<'_>) -> Option<String> {
    let name = node.text()?.value;
    node.fits(bounds::machine_name(&name)).map(|()| name)
}

fn amount(node: Node<'_>, bounds: fn(u64) -> Result<(), Unfit>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?.value;
    node.fits(bounds(size.0)).map(|()| size)
}

fn firmware(node: Node<'_>, disk: Option<&Disk>) -> Option<Firmware> {
    let firmware = node.word("firmware", Firmware::WORDS)?;
    if disk.is_none_or(|disk| disk.firmware.contains(&firmware)) {
        return Some(firmware);
    }
    let problem = node.problem(format!("the disk does not start with `{}`", firmware.word()));
    node.push(problem.hint("add it to `firmware` of the disk"));
    None
}

fn boot_order(node: Node<'_>) -> Option<Vec<BootDevice>> {
    let nodes = node.filled_array("boot devices", "write `boot-order = [\"disk\"]`")?;
    let devices = all(nodes.clone(), |node| node.word("boot device", BootDevice::WORDS))?;
    let twice = (1..devices.len()).find(|later| devices[..*later].contains(&devices[*later]));
    if let Some(twice) = twice {
        node.push(nodes[twice].problem(format!("boot device `{}` is listed twice", devices[twice])));
        return None;
    }
    Some(devices)
}

fn texts(table: &Table<'_>) -> Option<VmTexts> {
    let line = |key| optional(table, key, |node| text(node, Lines::One));
    let lines = |key| optional(table, key, |node| text(node, Lines::Many));
    let (description, eula) = (lines("description"), lines("eula"));
    let (product, product_url) = (line("product"), line("product-url"));
    let (vendor, vendor_url, version) = (line("vendor"), line("vendor-url"), line("version"));
    Some(VmTexts {
        description: description?,
        product: product?,
        product_url: product_url?,
        vendor: vendor?,
        vendor_url: vendor_url?,
        version: version?,
        eula: eula?,
    })
}

/// Keys and values become a part of XML. VirtualBox takes a value of nothing for the wish to remove the key.
fn extra_data(node: Node<'_>) -> Option<BTreeMap<String, String>> {
    let entries = node.entries()?.entries();
    let read = |(key, value): (At<&str>, Node<'_>)| {
        if key.value.trim() != key.value || key.value.is_empty() || key.value.contains(char::is_control) {
            let problem =
                Problem::at(key.at, format!("{:?} is not a key of VirtualBox's extra data", key.value));
            node.push(problem.hint("keys are written like `\"GUI/Fullscreen\"`"));
            return None;
        }
        let text = text(value, Lines::One)?;
        if text.is_empty() {
            value.push(
                value.problem(format!("the value of `{}` is empty", key.value)).hint("leave the key out"),
            );
            return None;
        }
        Some((key.value.to_owned(), text))
    };
    let read: Vec<_> = entries.into_iter().map(read).collect();
    read.into_iter().collect()
}

/// How many lines a text may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

/// Becomes a part of XML, which has no control characters but those of lines.
fn text(node: Node<'_>, lines: Lines) -> Option<String> {
    let text = node.text()?.value;
    let is_wrong = |c: char| c.is_control() && !(lines == Lines::Many && (c == '\n' || c == '\t'));
    if text.contains(is_wrong) {
        node.push(node.problem("the text contains a control character"));
        return None;
    }
    Some(text)
}

fn cpus(node: Node<'_>) -> Option<u32> {
    let number = node.integer()?;
    node.fits(bounds::cpus(number))?;
    u32::try_from(number).ok()
}
