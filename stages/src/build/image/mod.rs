//! Images: root file systems become disks, or archives, for people.

mod boot;
mod describe;
mod layers;
mod packing;
mod spec;

use ibuild_cache::{ActionKey, BlobId, Sha256};
use ibuild_graph::Description;

pub(super) use self::boot::BootLoaders;
use self::describe::Wanted;
pub use self::describe::packed_snapshots;
use self::packing::{Packing, Reuse};
use self::spec::disk_spec;
use super::StageError;
use super::builder::Builder;
use super::grains::GrainMemory;
use super::output::Artifact;
use super::project::Target;
use crate::disk::{DiskError, DiskSpec, PackRecord};
use crate::recipe::Image;
use crate::snapshot::Snapshot;

/// A machine of an image, with the root file system that its disk is made of.
#[derive(Clone, Copy)]
struct Machine<'a> {
    image: &'a Image,
    snapshot: &'a Snapshot,
    /// Debian's name of what it runs on.
    architecture: &'a str,
}

impl<'a> Machine<'a> {
    fn all(builder: &Builder<'a>, images: &[&'a Image], inputs: &[&'a Snapshot]) -> Vec<Self> {
        assert_eq!(images.len(), inputs.len(), "each machine is made of a root file system");
        let machine = |(image, snapshot): (&&'a Image, &&'a Snapshot)| Machine {
            image,
            snapshot,
            architecture: builder.architecture_of(&image.rootfs),
        };
        images.iter().zip(inputs).map(machine).collect()
    }

    fn disk(&self, epoch: i64) -> DiskSpec {
        disk_spec(epoch, self.image)
    }
}

/// Everything that can change an image.
pub(super) fn describe(
    builder: &Builder<'_>,
    target: &Target,
    images: &[&Image],
    inputs: &[&Snapshot],
) -> Result<Description, StageError> {
    let machines = Machine::all(builder, images, inputs);
    let name = target.image.as_str();
    let wanted = Wanted { name, format: target.format, epoch: builder.epoch(), machines: &machines };
    Ok(wanted.describe())
}

/// Makes the image and puts it into the content store.
pub(super) fn run(
    builder: &Builder<'_>,
    target: &Target,
    images: &[&Image],
    inputs: &[&Snapshot],
) -> Result<Artifact, StageError> {
    let machines = Machine::all(builder, images, inputs);
    let scratch = builder.store().run_dir()?;
    let packing = Packing::new(builder, target, &machines, scratch.path());
    let (out, packed) = match packing.pack(Reuse::DisksAndGrains) {
        // The damage is known only after the copy. Grains are looked at one by one.
        Err(StageError::Disk(DiskError::DamagedVmdk)) => packing.pack(Reuse::Grains)?,
        packed => packed?,
    };
    let blob = BlobId::from_bytes(packed.digests.blake3);
    builder.store().blobs().adopt(&out, &blob)?;
    if target.format.needs_disk() {
        packing.remember_boot_loaders(blob)?;
    }
    if !packed.grains.is_empty() {
        builder.observer().packed(&target.to_string(), packed.grains.len() as u64, packed.compressed);
        let disks = vmdk_keys(builder, &machines).into_iter().zip(packed.disks.iter().copied()).collect();
        let record = PackRecord { blob, grains: packed.grains, disks };
        GrainMemory::new(builder.store()).remember(builder.project_name(), &target.to_string(), record)?;
    }
    Ok(Artifact { blob, sha256: Sha256::from_bytes(packed.digests.sha256), size: packed.digests.size })
}

/// The keys of what makes the machines' disks as VMDK.
fn vmdk_keys(builder: &Builder<'_>, machines: &[Machine<'_>]) -> Vec<ActionKey> {
    machines.iter().map(|machine| machine.describe_vmdk(builder.epoch()).key()).collect()
}
