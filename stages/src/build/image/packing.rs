//! From snapshots to the file, at the cost of what no earlier file has.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use ibuild_cache::BlobId;

use super::layers::StoredLayer;
use super::spec::vm_spec;
use super::{Machine, vmdk_keys};
use crate::build::StageError;
use crate::build::boot_loaders::{BootLoader, BootMemory};
use crate::build::builder::Builder;
use crate::build::grains::{GrainMemory, LastFiles};
use crate::build::project::Target;
use crate::disk::{
    DiskContent, DiskMap, DiskSpec, FilesystemOptions, Format, FoundVmdk, LayerSource, MachineDisk, OciImage,
    PackedArtifact, Source, VmSpec, disk_map, filesystem, pack,
};
use crate::snapshot::LayerStore;
use crate::snapshot::files::{read_layers, read_tree};
use crate::snapshot::flat::write_flat;

/// What of earlier files may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Whole disks where they are the same, single grains otherwise.
    DisksAndGrains,
    /// Grains only.
    Grains,
}

/// One image on its way.
pub struct Packing<'a, 'b> {
    pub(super) builder: &'a Builder<'b>,
    pub(super) target: &'a Target,
    machines: &'a [Machine<'a>],
    scratch: &'a Path,
    /// The boot loaders that were needed so far, by the names of their images.
    pub(super) boot_loaders: RefCell<BTreeMap<String, BootLoader>>,
}

/// A disk in the form in which it is packed.
enum Content {
    Map(DiskMap),
    Vmdk(FoundVmdk),
}

/// A machine that is ready to be packed.
struct Ready {
    disk: DiskSpec,
    vm: VmSpec,
    content: Content,
}

impl<'a, 'b> Packing<'a, 'b> {
    /// An image of these machines, to be packed in the directory `scratch`.
    pub fn new(
        builder: &'a Builder<'b>,
        target: &'a Target,
        machines: &'a [Machine<'a>],
        scratch: &'a Path,
    ) -> Self {
        Self { builder, target, machines, scratch, boot_loaders: RefCell::default() }
    }

    /// Packs the image into a new file.
    pub fn pack(&self, reuse: Reuse) -> Result<(PathBuf, PackedArtifact), StageError> {
        let out = self.scratch.join("image");
        let packed = match self.target.format {
            Format::RootfsTarZst => self.pack_into(Source::Rootfs { tar: &self.flat_tar()? }, &out)?,
            Format::Oci => self.pack_layers(&out)?,
            _ => self.pack_machines(reuse, &out)?,
        };
        Ok((out, packed))
    }

    /// Remembers the boot loaders of the file that was made: those that were needed, and those that are on disks which were taken
    /// over.
    pub fn remember_boot_loaders(&self, file: BlobId) -> Result<(), StageError> {
        let memory = BootMemory::new(self.builder.store(), self.builder.project_name());
        for image in self.images() {
            let image = image.name.as_str();
            let needed = self.boot_loaders.borrow().get(image).cloned();
            if let Some(loader) = needed.map_or_else(|| memory.find(image), |needed| Ok(Some(needed)))? {
                memory.remember(image, loader, file)?;
            }
        }
        Ok(())
    }

    fn pack_machines(&self, reuse: Reuse, out: &Path) -> Result<PackedArtifact, StageError> {
        let targets = self.builder.project().with_disks_like(self.target, &self.images());
        let files = GrainMemory::new(self.builder.store()).find(self.builder.project_name(), &targets)?;
        let ready = self.ready(&files, reuse)?;
        let packs = files.into_packs();
        let machines: Vec<_> = ready.iter().map(Ready::as_disk).collect();
        let epoch = self.builder.epoch().max(0) as u64;
        let source =
            Source::Machines { name: self.target.image.as_str(), epoch, machines: &machines, packs: &packs };
        self.pack_into(source, out)
    }

    fn pack_layers(&self, out: &Path) -> Result<PackedArtifact, StageError> {
        let machine = &self.machines[0];
        let layers = StoredLayer::all(self.builder.store(), machine.snapshot)?;
        let layers: Vec<&dyn LayerSource> = layers.iter().map(|layer| layer as _).collect();
        let (name, epoch) = (self.target.image.as_str(), self.builder.epoch().max(0) as u64);
        let image = OciImage { name, architecture: machine.architecture, epoch, layers: &layers };
        self.pack_into(Source::Layers(image), out)
    }

    fn pack_into(&self, source: Source<'_>, out: &Path) -> Result<PackedArtifact, StageError> {
        let stage = self.target.to_string();
        let progress = |done, total| self.builder.observer().progress(&stage, done, total);
        Ok(pack(self.target.format, source, out, &progress)?)
    }

    fn images(&self) -> Vec<&crate::recipe::Image> {
        self.machines.iter().map(|machine| machine.image).collect()
    }

    /// The machines with their disks. Where an earlier file has the whole disk, nothing of it has to be known.
    fn ready(&self, files: &LastFiles, reuse: Reuse) -> Result<Vec<Ready>, StageError> {
        let takes_vmdks = self.target.format.keeps_vmdks() && reuse == Reuse::DisksAndGrains;
        let keys = vmdk_keys(self.builder, self.machines);
        let ready = self.machines.iter().zip(&keys).map(|(machine, key)| {
            let disk = machine.disk(self.builder.epoch());
            let found = if takes_vmdks { files.vmdk(key) } else { None };
            let content = match found {
                Some(vmdk) => Content::Vmdk(vmdk),
                None => Content::Map(self.disk_map(machine, &disk)?),
            };
            Ok(Ready { disk, vm: vm_spec(machine.image), content })
        });
        ready.collect()
    }

    fn flat_tar(&self) -> Result<PathBuf, StageError> {
        let path = self.scratch.join("root.tar");
        let file = File::create(&path).map_err(StageError::io("create", &path))?;
        let (trees, layers) = (self.builder.trees(), LayerStore::new(self.builder.store()));
        write_flat(&trees, &layers, self.machines[0].snapshot, BufWriter::with_capacity(1 << 20, file))?;
        Ok(path)
    }

    /// What will be on the disk. Of the files of the root file system nothing is read yet.
    fn disk_map(&self, machine: &Machine<'_>, disk: &DiskSpec) -> Result<DiskMap, StageError> {
        let layers = read_layers(&LayerStore::new(self.builder.store()), machine.snapshot)?;
        let boot = self.boot_loader(machine, disk, &layers)?;
        let tree = read_tree(&self.builder.trees(), machine.snapshot)?;
        let root = filesystem(&layers, &tree, &FilesystemOptions::of(disk))?;
        Ok(disk_map(disk, &boot, root)?)
    }
}

impl Ready {
    fn as_disk(&self) -> MachineDisk<'_> {
        let content = match &self.content {
            Content::Map(map) => DiskContent::Map(map),
            Content::Vmdk(vmdk) => DiskContent::Vmdk(vmdk),
        };
        MachineDisk { disk: &self.disk, vm: &self.vm, content }
    }
}
