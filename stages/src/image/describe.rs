//! Everything that can change an image, and everything that can change a disk in it.
//!
//! The layout of a disk follows from the sequence of layers, so that is what counts, and not only the tree that they make.
//! An archive of the files has the tree alone in it. What writes parts of an image is named with its
//! version.
//!
//! A whole VMDK has a key, too. Where a finished file has a VMDK with the same key, its part of the file is reused, and
//! nothing of its disk is looked at.

use ibuild_cache::{LayerId, TreeId};
use ibuild_graph::{Description, Value};

use super::Machine;
use super::spec::vm_spec;
use crate::disk::{Adapter, DiskSpec, Nic, VmSpec, disk_identity, packer_identity};
use crate::fields::{LAYERS, TREE};
use crate::snapshot::Snapshot;
use ibuild_spec::Format;
use ibuild_spec::hardware::{Firmware, VmTexts};

const IMPLEMENTATION: i64 = 3;

/// What is to be packed.
pub struct Wanted<'a> {
    /// Its name, which is also that of the OVF inside an OVA.
    pub name: &'a str,
    /// As what.
    pub format: Format,
    /// SOURCE_DATE_EPOCH.
    pub epoch: i64,
    /// What is in it.
    pub machines: &'a [Machine<'a>],
}

impl Wanted<'_> {
    /// Everything that can change it.
    pub fn describe(&self) -> Description {
        let mut description = Description::new("image", IMPLEMENTATION);
        description.set("format", self.format.name());
        description.set("epoch", self.epoch);
        let trees = self.machines.iter().map(|it| Value::Digest(*it.snapshot.tree.as_bytes()));
        description.set(TREE, Value::List(trees.collect()));
        description.set("packer", packer_identity(self.format));
        if self.format == Format::RootfsTarZst {
            return description;
        }
        description.set(LAYERS, Value::List(self.machines.iter().map(layers).collect()));
        if self.format == Format::Oci {
            description.set("name", self.name);
            description.set("architecture", Value::texts(self.machines.iter().map(|it| it.architecture)));
            return description;
        }
        describe_writers(&mut description);
        match self.machines {
            [machine] if machine.image.name.as_str() == self.name => {
                description.set("disk", describe_disk(&machine.disk(self.epoch)));
                if self.format == Format::Ova {
                    description.set("vm", describe_vm(&vm_spec(machine.image)));
                }
            }
            machines => {
                description.set("name", self.name);
                description.set(
                    "machines",
                    Value::List(machines.iter().map(|it| it.describe(self.epoch)).collect()),
                );
            }
        }
        description
    }
}

impl Machine<'_> {
    fn describe(&self, epoch: i64) -> Value {
        Value::map([("disk", describe_disk(&self.disk(epoch))), ("vm", describe_vm(&vm_spec(self.image)))])
    }

    /// Everything that can change its disk as VMDK, whatever that is part of.
    pub fn describe_vmdk(&self, epoch: i64) -> Description {
        let mut description = Description::new("vmdk", IMPLEMENTATION);
        description.set("epoch", epoch);
        description.set(TREE, Value::Digest(*self.snapshot.tree.as_bytes()));
        description.set(LAYERS, layers(self));
        description.set("packer", packer_identity(Format::Vmdk));
        description.set("disk", describe_disk(&self.disk(epoch)));
        describe_writers(&mut description);
        description
    }
}

/// The root file systems in an image, from its description. An archive of the files tells no layers.
pub fn packed_snapshots(description: &Description) -> Option<Vec<Snapshot>> {
    let Value::List(trees) = description.fields().get(TREE)? else { return None };
    let layers = match description.fields().get(LAYERS) {
        Some(Value::List(layers)) => layers.as_slice(),
        _ => &[],
    };
    let snapshot = |(number, tree): (usize, &Value)| {
        let Value::Digest(tree) = tree else { return None };
        let layer = |layer: &Value| match layer {
            Value::Digest(layer) => Some(LayerId::from_bytes(*layer)),
            _ => None,
        };
        let layers = match layers.get(number) {
            Some(Value::List(layers)) => layers.iter().map(layer).collect::<Option<_>>()?,
            _ => Vec::new(),
        };
        Some(Snapshot::of(TreeId::from_bytes(*tree), layers))
    };
    trees.iter().enumerate().map(snapshot).collect()
}

fn layers(machine: &Machine<'_>) -> Value {
    Value::List(machine.snapshot.layers.iter().map(|layer| Value::Digest(*layer.as_bytes())).collect())
}

fn describe_writers(into: &mut Description) {
    into.set("writers", disk_identity());
    into.set("boot loader", super::boot::IMPLEMENTATION);
}

fn describe_disk(disk: &DiskSpec) -> Value {
    let firmware =
        Firmware::WORDS.iter().filter(|(_, it)| disk.firmware.contains(*it)).map(|(word, _)| *word);
    let fields = [
        ("name", disk.name.as_str().into()),
        ("size", Value::Number(disk.size as i64)),
        ("firmware", Value::texts(firmware)),
        ("fs-uuid", disk.fs_uuid.to_string().into()),
        ("cmdline", disk.cmdline.as_str().into()),
    ];
    // What the recipe does not give follows from the name.
    let uuid = disk.uuid.map(|uuid| ("uuid", uuid.to_string().into()));
    Value::map(fields.into_iter().chain(uuid))
}

fn describe_vm(vm: &VmSpec) -> Value {
    let fields = [
        ("cpus", Value::Number(vm.cpus.into())),
        ("memory", Value::Number(vm.memory_mib.into())),
        ("vram", Value::Number(vm.vram_mib.into())),
        ("firmware", vm.firmware.word().into()),
        ("disk-bus", vm.disk_bus.word().into()),
        ("nics", Value::texts(vm.nics.iter().map(describe_adapter))),
        ("audio", vm.audio.word().into()),
        ("clipboard", vm.clipboard.word().into()),
        ("drag-and-drop", vm.drag_and_drop.word().into()),
        ("rtc", vm.clock.word().into()),
        ("boot-order", Value::texts(vm.boot_order.iter().map(|device| device.word()))),
        ("texts", describe_texts(&vm.texts)),
    ];
    let name = vm.name.as_deref().map(|name| ("name", name.into()));
    let uuid = vm.uuid.map(|uuid| ("uuid", uuid.to_string().into()));
    let extra = &vm.virtualbox_extra;
    let items = || Value::map(extra.iter().map(|(key, value)| (key.as_str(), value.as_str().into())));
    let extra = (!extra.is_empty()).then(|| ("virtualbox-extra", items()));
    Value::map(fields.into_iter().chain(name).chain(uuid).chain(extra))
}

fn describe_adapter(Adapter { network, mac }: &Adapter) -> String {
    let network = match network {
        Nic::Nat => "nat".to_owned(),
        Nic::Internal(name) => format!("internal:{name}"),
        Nic::None => "none".to_owned(),
    };
    // No name of a network has a blank.
    mac.map_or_else(|| network.clone(), |mac| format!("{network} {mac}"))
}

fn describe_texts(texts: &VmTexts) -> Value {
    Value::map(texts.said().map(|(key, text)| (key, text.into())))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Each identity counts, and one that is not given is not a field: keys of recipes that name none stay what they were.
    #[test]
    fn identities_count_where_they_are_given() {
        let disk = DiskSpec::new("gate", 97 << 20, 0);
        let mut vm = VmSpec::new(1, 512);
        vm.nics = vec![Nic::Nat.into(), Nic::Internal("lab".into()).into()];
        let (of_disk, of_vm) = (describe_disk(&disk), describe_vm(&vm));
        let Value::Map(fields) = &of_vm else { panic!("it is a map") };
        assert_eq!(fields[b"nics".as_slice()], Value::texts(["nat", "internal:lab"]));
        assert!(!fields.contains_key(b"uuid".as_slice()) && !fields.contains_key(b"name".as_slice()));
        let uuid = Some(Uuid::from_u128(7));
        assert_ne!(describe_disk(&DiskSpec { uuid, ..disk.clone() }), of_disk);
        let Value::Map(fields) = &of_disk else { panic!("it is a map") };
        assert!(!fields.contains_key(b"uuid".as_slice()));
        let changes: [fn(&mut VmSpec); 6] = [
            |vm| drop(vm.virtualbox_extra.insert("GUI/a".into(), "1".into())),
            |vm| drop(vm.virtualbox_extra.insert("GUI/a".into(), "2".into())),
            |vm| vm.name = Some("Gate".into()),
            |vm| vm.uuid = Some(Uuid::from_u128(7)),
            |vm| vm.nics[0].mac = "52:54:00:12:34:56".parse().ok(),
            |vm| vm.nics[1].mac = "52:54:00:12:34:56".parse().ok(),
        ];
        let mut seen = vec![of_vm];
        for change in changes {
            let mut other = vm.clone();
            change(&mut other);
            let described = describe_vm(&other);
            assert!(!seen.contains(&described), "{described:?}");
            seen.push(described);
        }
    }

    #[test]
    fn what_was_packed_is_read_back_from_the_description() {
        let digest = |n: u8| Value::Digest([n; 32]);
        let mut description = Description::new("image", IMPLEMENTATION);
        description.set(TREE, Value::List(vec![digest(1), digest(2)]));
        let of = |description: &Description| packed_snapshots(description).unwrap();
        assert!(of(&description).iter().all(|it| it.layers.is_empty()));
        let layers = vec![Value::List(vec![digest(3), digest(4)]), Value::List(vec![digest(5)])];
        description.set(LAYERS, Value::List(layers));
        let found = of(&description);
        assert_eq!(found[1], Snapshot::of(TreeId::from_bytes([2; 32]), vec![LayerId::from_bytes([5; 32])]));
        assert_eq!(found[0].layers.len(), 2);
        assert!(packed_snapshots(&Description::new("run", 1)).is_none());
    }
}
