//! Images: a root file system becomes a disk, or an archive, for people.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild_cache::Sha256;
use ibuild_graph::{Description, Value};
use uuid::Uuid;

use super::StageError;
use super::builder::Builder;
use super::changeroot::{Changeroot, Work, read_only};
use super::grains::GrainMemory;
use super::output::Artifact;
use super::project::Target;
use crate::disk::{
    BootFiles, DiskMap, DiskSpec, EXT4_WRITER, FilesystemOptions, Firmware, FirmwareSet, Format, GrubPlan,
    Identity, MIB, MachineDisk, Nic, Pack, PackedArtifact, Source, VmSpec, disk_map, filesystem, pack,
    packer_identity,
};
use crate::recipe::{self, Image, ImageFormat, Limits};
use crate::sandbox::{Access, Bind, Payload};
use crate::snapshot::files::{read_layers, read_tree};
use crate::snapshot::flat::write_flat;
use crate::snapshot::{LayerStore, Snapshot};

const IMPLEMENTATION: i64 = 2;

/// Longer than any `grub-mkimage` takes.
const GRUB_TIMEOUT: Duration = Duration::from_secs(300);

/// Everything that can change an image.
///
/// The layout of a disk follows from the sequence of layers, so that is what counts, and not only the tree that they make.
/// An archive of the files has the tree alone in it. The tools of the host that write parts of it are named with their
/// versions.
pub(super) fn describe(
    builder: &Builder<'_>,
    target: &Target,
    image: &Image,
    inputs: &[&Snapshot],
) -> Result<Description, StageError> {
    let format = format_of(target.format);
    let mut description = Description::new("image", IMPLEMENTATION);
    description.set("format", format.name());
    description.set("epoch", builder.epoch());
    description.set("tree", Value::List(inputs.iter().map(|i| Value::Digest(*i.tree.as_bytes())).collect()));
    description.set("packer", packer_identity(format)?);
    if format != Format::RootfsTarZst {
        let layers = inputs.iter().flat_map(|input| &input.layers);
        description
            .set("layers", Value::List(layers.map(|layer| Value::Digest(*layer.as_bytes())).collect()));
        describe_disk(builder, image, &mut description);
    }
    if format == Format::Ova {
        description.set("vm", describe_vm(&vm_spec(image)));
    }
    Ok(description)
}

fn describe_disk(builder: &Builder<'_>, image: &Image, into: &mut Description) {
    let disk = disk_spec(builder, image);
    let firmware = [(Firmware::Bios, "bios"), (Firmware::Uefi, "uefi")];
    let firmware = firmware.iter().filter(|(f, _)| disk.firmware.contains(*f)).map(|(_, name)| *name);
    into.set(
        "disk",
        Value::map([
            ("name", disk.name.as_str().into()),
            ("size", Value::Number(disk.size as i64)),
            ("firmware", Value::texts(firmware)),
            ("fs-uuid", disk.fs_uuid.to_string().into()),
            ("cmdline", disk.cmdline.as_str().into()),
        ]),
    );
    into.set("file system", EXT4_WRITER);
    into.set("boot loader", i64::from(GrubPlan::VERSION));
}

fn describe_vm(vm: &VmSpec) -> Value {
    let nic = |nic: &Nic| match nic {
        Nic::Nat => "nat".to_owned(),
        Nic::Internal(name) => format!("internal:{name}"),
        Nic::None => "none".to_owned(),
    };
    Value::map([
        ("cpus", Value::Number(vm.cpus.into())),
        ("memory", Value::Number(vm.memory_mib.into())),
        ("vram", Value::Number(vm.vram_mib.into())),
        ("nics", Value::texts(vm.nics.iter().map(nic))),
        ("description", vm.description.as_str().into()),
    ])
}

fn format_of(format: ImageFormat) -> Format {
    match format {
        ImageFormat::Ova => Format::Ova,
        ImageFormat::Vmdk => Format::Vmdk,
        ImageFormat::Qcow2 => Format::Qcow2,
        ImageFormat::Raw => Format::Raw,
        ImageFormat::RootfsTarZst => Format::RootfsTarZst,
    }
}

fn disk_spec(builder: &Builder<'_>, image: &Image) -> DiskSpec {
    let name = image.name.as_str();
    let disk = image.disk.as_ref().expect("an image without a disk has no target that needs one");
    let firmware = disk.firmware.iter().map(|firmware| match firmware {
        recipe::Firmware::Bios => Firmware::Bios,
        recipe::Firmware::Uefi => Firmware::Uefi,
    });
    DiskSpec {
        name: name.to_owned(),
        size: disk.size.0,
        firmware: FirmwareSet::of(firmware).unwrap_or(FirmwareSet::Both),
        fs_uuid: disk
            .fs_uuid
            .map_or_else(|| Identity::of(name).file_system(), |u| Uuid::from_bytes(*u.as_bytes())),
        cmdline: disk.cmdline.clone().unwrap_or_default(),
        epoch: builder.epoch().max(0) as u64,
    }
}

fn vm_spec(image: &Image) -> VmSpec {
    let memory = u32::try_from(image.vm.memory.0 / MIB).unwrap_or(u32::MAX);
    let mut vm = VmSpec::new(image.vm.cpus, memory);
    vm.nics = image.vm.nics.iter().map(nic).collect();
    vm
}

fn nic(nic: &recipe::Nic) -> Nic {
    match nic {
        recipe::Nic::Nat => Nic::Nat,
        recipe::Nic::Internal(name) => Nic::Internal(name.clone()),
        recipe::Nic::None => Nic::None,
    }
}

/// Makes the image and puts it into the content store.
pub(super) fn run(
    builder: &Builder<'_>,
    target: &Target,
    image: &Image,
    inputs: &[&Snapshot],
) -> Result<Artifact, StageError> {
    let snapshot = inputs.first().expect("an image is made of a root file system");
    let scratch = builder.store().run_dir()?;
    let packing = Packing { builder, target, image, snapshot, scratch: scratch.path() };
    let (out, packed) = packing.pack()?;
    let stored = builder.store().blobs().adopt(&out)?;
    if !packed.grains.is_empty() {
        let memory = GrainMemory::new(builder.store());
        memory.remember(builder.project_name(), &target.to_string(), stored.digest, packed.grains)?;
    }
    Ok(Artifact { blob: stored.digest, sha256: Sha256::from_bytes(packed.digests.sha256), size: stored.size })
}

/// One image on its way.
struct Packing<'a, 'b> {
    builder: &'a Builder<'b>,
    target: &'a Target,
    image: &'a Image,
    snapshot: &'a Snapshot,
    scratch: &'a Path,
}

impl Packing<'_, '_> {
    fn pack(&self) -> Result<(PathBuf, PackedArtifact), StageError> {
        let out = self.scratch.join("image");
        let stage = self.target.to_string();
        let progress = |done, total| self.builder.observer().progress(&stage, done, total);
        let format = format_of(self.target.format);
        if format == Format::RootfsTarZst {
            let tar = self.flat_tar()?;
            let packed = pack(format, Source::Rootfs { tar: &tar }, &out, &progress)?;
            return Ok((out, packed));
        }
        let disk = disk_spec(self.builder, self.image);
        let map = self.disk_map(&disk)?;
        let machines = [MachineDisk { disk: &disk, vm: &vm_spec(self.image), map: &map }];
        let packs = self.packs()?;
        let source =
            Source::Machines { name: &disk.name, epoch: disk.epoch, machines: &machines, packs: &packs };
        let packed = pack(format, source, &out, &progress)?;
        Ok((out, packed))
    }

    fn flat_tar(&self) -> Result<PathBuf, StageError> {
        let path = self.scratch.join("root.tar");
        let file = File::create(&path).map_err(StageError::io("create", &path))?;
        let (trees, layers) = (self.builder.trees(), LayerStore::new(self.builder.store()));
        write_flat(&trees, &layers, self.snapshot, BufWriter::with_capacity(1 << 20, file))?;
        Ok(path)
    }

    /// What will be on the disk. Of the files of the root file system nothing is read yet.
    fn disk_map(&self, disk: &DiskSpec) -> Result<DiskMap, StageError> {
        let boot = self.boot_files(disk)?;
        let layers = read_layers(&LayerStore::new(self.builder.store()), self.snapshot)?;
        let tree = read_tree(&self.builder.trees(), self.snapshot)?;
        let root = filesystem(&layers, &tree, &FilesystemOptions::of(disk))?;
        Ok(disk_map(disk, &boot, root)?)
    }

    /// The last files that may have grains of this disk.
    fn packs(&self) -> Result<Vec<Pack>, StageError> {
        let formats = [self.target.format, ImageFormat::Ova, ImageFormat::Vmdk];
        let targets = formats.map(|format| Target { format, ..self.target.clone() }.to_string());
        GrainMemory::new(self.builder.store()).packs(self.builder.project_name(), &targets)
    }

    /// GRUB's images come from the GRUB in the root file system, made in a sandbox of which nothing else is kept.
    fn boot_files(&self, disk: &DiskSpec) -> Result<BootFiles, StageError> {
        let root = Changeroot::over(self.builder, Some(self.snapshot))?;
        let out = root.side_dir("out")?;
        let plan = GrubPlan::new(disk);
        let script = root.side_file("grub", plan.script("/run/ibuild/out"))?;
        let work = Work {
            program: format!("`grub-mkimage` (from {})", plan.packages().join(", ")),
            payload: Payload::Exec { argv: ["/bin/sh", "/run/ibuild/grub"].map(str::to_owned).to_vec() },
            binds: vec![
                read_only(script, "grub"),
                Bind { source: out.clone(), target: "out".into(), access: Access::ReadWrite },
            ],
            from: None,
            archive: None,
            env: BTreeMap::from([("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]),
            timeout: Some(GRUB_TIMEOUT),
            limits: Limits::default(),
        };
        let _done = root.run(self.builder, &self.target.to_string(), work)?;
        Ok(BootFiles::read(&out, disk.firmware)?)
    }
}
