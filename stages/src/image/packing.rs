//! From snapshots to the file, at the cost of what no earlier file has.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::BufWriter;
use std::iter;
use std::path::{Path, PathBuf};

use ibuild_cache::{ActionKey, BlobId, Cancel, ReadAhead};
use tracing::{debug, info};

use super::layers::StoredLayer;
use super::spec::vm_spec;
use super::{Machine, vmdk_keys};

use crate::StageError;
use crate::disk::{
    Destination, Digested, DiskContent, DiskMap, DiskSpec, FilesystemOptions, FoundVmdk, LayerSource,
    MachineDisk, OciImage, PackedArtifact, Packs, Piece, Source, VmSpec, disk_map, filesystem, pack_until,
};
use crate::executor::context::StageContext;
use crate::executor::space::left;
use crate::image::boot_loaders::{BootLoader, BootMemory};
use crate::image::composition::Composition;
use crate::image::grains::{GrainMemory, Reusable};
use crate::project::Target;
use crate::publish::previous_output::PreviousOutput;
use crate::snapshot::SnapshotError;
use crate::snapshot::files::{read_layers, read_tree};
use crate::snapshot::flat::write_flat;
use ibuild_spec::Format;

/// There is a seed copy where the disk has room for so many of what is packed: a pack, the image and its seed copy, and one more.
const SEED_COPY_ROOM: u64 = 4;

/// One image on its way.
pub struct Packing<'a, 'b> {
    pub(super) context: &'a StageContext<'b>,
    pub(super) target: &'a Target,
    machines: &'a [Machine<'a>],
    scratch: &'a Path,
    /// The boot loaders that were needed so far, by the names of their images.
    pub(super) boot_loaders: RefCell<BTreeMap<String, BootLoader>>,
}

/// An image that is packed.
pub struct Packed {
    /// The file.
    pub path: PathBuf,
    /// A second one, of a target that is made for the first time.
    pub seed_copy: Option<PathBuf>,
    /// Its size and digest.
    pub file: Digested<BlobId>,
    /// What it is made of, if that is grains. They are in the store.
    pub composition: Option<Composition>,
}

/// A disk in the form in which it is packed.
enum Content {
    Map(DiskMap),
    Vmdk(FoundVmdk),
}

impl Content {
    /// How many bytes there are to pack. A packed file has hardly more, whatever they are.
    fn most(&self) -> u64 {
        match self {
            Self::Map(map) => map.pieces.iter().map(Piece::length).sum(),
            Self::Vmdk(found) => found.rope.size(),
        }
    }
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
        context: &'a StageContext<'b>,
        target: &'a Target,
        machines: &'a [Machine<'a>],
        scratch: &'a Path,
    ) -> Self {
        Self { context, target, machines, scratch, boot_loaders: RefCell::default() }
    }

    /// Packs the image into a file of its own, for which `spare` is taken if it is of use.
    pub fn pack(&self, spare: &PreviousOutput) -> Result<Packed, StageError> {
        let out = self.scratch.join("image");
        let packed = match self.target.format {
            Format::RootfsTarZst => self.pack_into(Source::Rootfs { tar: &self.flat_tar()? }, &out)?,
            Format::Oci => self.pack_layers(&out)?,
            _ => {
                spare.take(&out)?;
                return self.pack_machines(out);
            }
        };
        Ok(Packed { path: out, seed_copy: None, file: packed.file, composition: None })
    }

    /// Packs the image into a new file, without what is known of earlier ones. Nothing of it is remembered.
    pub fn pack_from_nothing(&self) -> Result<Digested<BlobId>, StageError> {
        let out = self.scratch.join("image");
        let packed = match self.target.format {
            Format::RootfsTarZst => self.pack_into(Source::Rootfs { tar: &self.flat_tar()? }, &out)?,
            Format::Oci => self.pack_layers(&out)?,
            _ => {
                let packs = Packs::none(&self.scratch.join("grains")).until(self.cancel());
                self.pack_disks(&self.ready(Vec::new())?, packs, Destination::from(out.as_path()))?.0
            }
        };
        Ok(packed.file)
    }

    /// Remembers the boot loaders of the file that was made: those that were needed, and those that are on disks which were taken
    /// over.
    pub fn remember_boot_loaders(&self, file: BlobId) -> Result<(), StageError> {
        let memory = BootMemory::new(self.context.store(), self.context.project_name());
        for image in self.images() {
            let image = image.name.as_str();
            let needed = self.boot_loaders.borrow().get(image).cloned();
            if let Some(loader) = needed.map_or_else(|| memory.find(image), |needed| Ok(Some(needed)))? {
                memory.remember(image, loader, file);
            }
        }
        Ok(())
    }

    fn pack_machines(&self, out: PathBuf) -> Result<Packed, StageError> {
        // It is looked at after the disk is laid out, which takes the processor and leaves the machine's own disk alone.
        let _spare = ReadAhead::begin(&out);
        let targets = self.context.project().with_disks_like(self.target, &self.images());
        let (memory, project) = (GrainMemory::new(self.context.store()), self.context.project_name());
        let files = memory.find(project, &targets)?;
        let keys = vmdk_keys(self.context, self.machines);
        let wanted = if self.target.format.keeps_vmdks() { &keys[..] } else { &[] };
        let Reusable { packs, vmdks, first: before } =
            files.open(self.context.store(), &self.scratch.join("grains"), wanted)?;
        let ready = self.ready(vmdks)?;
        let seed_copy = self.scratch.join("seed_copy");
        let is_first = !out.exists() && memory.is_new(project, &self.target.to_string())?;
        let has_seed_copy = is_first && self.has_room_for_seed_copy(&ready);
        let destination = Destination {
            file: &out,
            seed_copy: has_seed_copy.then_some(seed_copy.as_path()),
            before: before.as_ref(),
        };
        let (packed, packs) = self.pack_disks(&ready, packs.until(self.cancel()), destination)?;
        let file = packed.file;
        let seed_copy = Some(seed_copy).filter(|seed_copy| seed_copy.exists());
        Ok(Packed { path: out, seed_copy, file, composition: self.composition(packed, &packs, keys)? })
    }

    /// Packs disks, with the grains that `packs` knows; the others are added to it.
    fn pack_disks(
        &self,
        ready: &[Ready],
        mut packs: Packs,
        destination: Destination<'_>,
    ) -> Result<(PackedArtifact, Packs), StageError> {
        let machines: Vec<_> = ready.iter().map(Ready::as_disk).collect();
        let epoch = self.context.epoch().max(0) as u64;
        let name = self.target.image.as_str();
        let source = Source::Machines { name, epoch, machines: &machines, packs: &mut packs };
        let packed = self.pack_into(source, destination)?;
        Ok((packed, packs))
    }

    /// A disk that fills up is a higher price than a first edit that takes longer.
    fn has_room_for_seed_copy(&self, machines: &[Ready]) -> bool {
        let most: u64 = machines.iter().map(|machine| machine.content.most()).sum();
        left(self.scratch) > most.saturating_mul(SEED_COPY_ROOM)
    }

    /// What a file is made of, with the new pack in the store.
    fn composition(
        &self,
        packed: PackedArtifact,
        packs: &Packs,
        keys: Vec<ActionKey>,
    ) -> Result<Option<Composition>, StageError> {
        let Some(made) = packed.made else { return Ok(None) };
        let grains = made.rope.grains().len() as u64;
        self.context.observer().packed(&self.target.to_string(), grains, packed.compressed);
        debug!(target_file = %self.target, grains, compressed = packed.compressed, "packed; the other grains were there");
        if let Some(new) = packed.new_pack {
            self.context.store().blobs().adopt(&new.path, &new.id)?;
        }
        Ok(Some(Composition::of(made, packs, keys.into_iter().zip(packed.disks).collect())))
    }

    fn pack_layers(&self, out: &Path) -> Result<PackedArtifact, StageError> {
        let machine = &self.machines[0];
        let layers = StoredLayer::all(self.context.store(), machine.snapshot, self.cancel())?;
        let layers: Vec<&dyn LayerSource> = layers.iter().map(|layer| layer as _).collect();
        let (name, epoch) = (self.target.image.as_str(), self.context.epoch().max(0) as u64);
        let image = OciImage { name, architecture: machine.architecture, epoch, layers: &layers };
        self.pack_into(Source::Layers(image), out).map_err(|error| self.layer_to_blame(machine, error))
    }

    /// The layer whose tarball is damaged, if that is why an image could not be packed. It is made again.
    fn layer_to_blame(&self, machine: &Machine<'_>, error: StageError) -> StageError {
        if error.is_interrupt() {
            return error;
        }
        match self.context.layers().discard_damaged(&machine.snapshot.layers) {
            Ok(Some(layer)) => SnapshotError::MissingLayer(layer).into(),
            Ok(None) => error,
            Err(error) => error.into(),
        }
    }

    fn pack_into<'d>(
        &self,
        source: Source<'_>,
        destination: impl Into<Destination<'d>>,
    ) -> Result<PackedArtifact, StageError> {
        let stage = self.target.to_string();
        info!(target_file = %stage, machines = self.machines.len(), "packs");
        let progress = |done, total| self.context.observer().progress(&stage, done, total);
        Ok(pack_until(self.cancel(), self.target.format, source, destination, &progress)?)
    }

    fn cancel(&self) -> &Cancel {
        self.context.supervisor().cancel()
    }

    fn images(&self) -> Vec<&crate::recipe::Image> {
        self.machines.iter().map(|machine| machine.image).collect()
    }

    /// The machines with their disks. Where an earlier file has the whole disk, nothing of it has to be known.
    fn ready(&self, found: Vec<Option<FoundVmdk>>) -> Result<Vec<Ready>, StageError> {
        let found = found.into_iter().chain(iter::repeat(None));
        let ready = self.machines.iter().zip(found).map(|(machine, found)| {
            let (disk, vm) = (machine.disk(self.context.epoch()), vm_spec(machine.image));
            disk.check()?;
            vm.check(&disk.name)?;
            let content = match found {
                Some(vmdk) => Content::Vmdk(vmdk),
                None => Content::Map(self.disk_map(machine, &disk)?),
            };
            Ok(Ready { disk, vm, content })
        });
        ready.collect()
    }

    /// A layer that was changed where it is unpacked is unpacked anew, each once.
    fn flat_tar(&self) -> Result<PathBuf, StageError> {
        let path = self.scratch.join("root.tar");
        let (trees, layers) = (self.context.trees(), self.context.layers());
        let snapshot = self.machines[0].snapshot;
        let mut damaged = HashSet::new();
        loop {
            let file = File::create(&path).map_err(StageError::io("create", &path))?;
            match write_flat(&trees, &layers, snapshot, BufWriter::with_capacity(1 << 20, file)) {
                Err(SnapshotError::ChangedLayer(layer)) if damaged.insert(layer) => {}
                written => return Ok(written.map(|()| path)?),
            }
        }
    }

    /// What will be on the disk. Of the files of the root file system nothing is read yet.
    fn disk_map(&self, machine: &Machine<'_>, disk: &DiskSpec) -> Result<DiskMap, StageError> {
        let (store, trees) = (self.context.layers(), self.context.trees());
        let (layers, tree) =
            rayon::join(|| read_layers(&store, machine.snapshot), || read_tree(&trees, machine.snapshot));
        let (layers, tree) = (layers?, tree?);
        let boot = self.boot_loader(machine, disk, &layers)?;
        let root = filesystem(layers, tree, &FilesystemOptions::of(disk))?;
        Ok(disk_map(disk, &boot, root)?.until(self.cancel()))
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
