//! What a recipe says of an image, in the words of the disk engine.

use crate::disk::{Adapter, DiskSpec, FirmwareSet, Identity, Nic, VmSpec};
use crate::recipe::{self, Image};
use ibuild_spec::ByteSize;
use ibuild_spec::MIB;

/// The disk of an image.
pub fn disk_spec(epoch: i64, image: &Image) -> DiskSpec {
    let name = image.name.as_str();
    let disk = image.disk.as_ref().expect("an image without a disk has no target that needs one");
    DiskSpec {
        name: name.to_owned(),
        size: disk.size.0,
        firmware: FirmwareSet::of(disk.firmware.iter().copied()).unwrap_or(FirmwareSet::Both),
        uuid: disk.uuid,
        fs_uuid: disk.fs_uuid.unwrap_or_else(|| Identity::of(name).file_system()),
        cmdline: disk.cmdline.clone().unwrap_or_default(),
        epoch: epoch.max(0) as u64,
    }
}

/// The machine around it.
pub fn vm_spec(image: &Image) -> VmSpec {
    let mebibytes = |size: ByteSize| u32::try_from(size.0 / MIB).unwrap_or(u32::MAX);
    let vm = &image.vm;
    VmSpec {
        name: vm.name.clone(),
        uuid: vm.uuid,
        cpus: vm.cpus,
        memory_mib: mebibytes(vm.memory),
        vram_mib: mebibytes(vm.vram),
        firmware: image.firmware(),
        disk_bus: vm.disk_bus,
        nics: vm.nics.iter().map(adapter).collect(),
        audio: vm.audio,
        clipboard: vm.clipboard,
        drag_and_drop: vm.drag_and_drop,
        clock: vm.rtc,
        boot_order: vm.boot_order.clone(),
        virtualbox_extra: vm.virtualbox_extra.clone(),
        texts: vm.texts.clone(),
    }
}

fn adapter(card: &recipe::NetworkCard) -> Adapter {
    let network = match &card.network {
        recipe::Nic::Nat => Nic::Nat,
        recipe::Nic::Internal(name) => Nic::Internal(name.clone()),
        recipe::Nic::None => Nic::None,
    };
    Adapter { network, mac: card.mac }
}
