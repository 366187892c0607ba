//! Images: root file systems become disks, or archives, for people.

mod boot;
pub(crate) mod boot_loaders;
pub(crate) mod composition;
mod describe;
pub(crate) mod grains;
mod layers;
mod packing;
mod spec;

use ibuild_cache::ActionKey;
use ibuild_graph::Description;

pub(crate) use self::composition::has_packs;
use self::describe::Wanted;
pub use self::describe::packed_snapshots;
use self::packing::{Packed, Packing};
use self::spec::disk_spec;
use crate::StageError;
use crate::disk::{DiskError, DiskSpec};
use crate::executor::context::StageContext;
use crate::image::grains::GrainMemory;
use crate::output::{Artifact, Composed, StageOutput};
use crate::project::Target;
use crate::publish::pending_artifacts::PendingArtifact;
use crate::publish::previous_output::PreviousOutput;
use crate::recipe::Image;
use crate::snapshot::{Snapshot, layer_index};

/// A machine of an image, with the root file system that its disk is made of.
#[derive(Clone, Copy)]
struct Machine<'a> {
    image: &'a Image,
    snapshot: &'a Snapshot,
    /// Debian's name of what it runs on.
    architecture: &'a str,
}

impl<'a> Machine<'a> {
    fn all(context: &StageContext<'a>, images: &[&'a Image], inputs: &[&'a Snapshot]) -> Vec<Self> {
        assert_eq!(images.len(), inputs.len(), "each machine is made of a root file system");
        let machine = |(image, snapshot): (&&'a Image, &&'a Snapshot)| Machine {
            image,
            snapshot,
            architecture: context.architecture_of(&image.rootfs),
        };
        images.iter().zip(inputs).map(machine).collect()
    }

    fn disk(&self, epoch: i64) -> DiskSpec {
        disk_spec(epoch, self.image)
    }
}

/// Everything that can change an image.
pub(super) fn describe(
    context: &StageContext<'_>,
    target: &Target,
    images: &[&Image],
    inputs: &[&Snapshot],
) -> Result<Description, StageError> {
    let machines = Machine::all(context, images, inputs);
    let name = target.image.as_str();
    let wanted = Wanted { name, format: target.format, epoch: context.epoch(), machines: &machines };
    Ok(wanted.describe())
}

/// Makes the image. The content store gets what it is made of, or all of it if it is not made of grains.
///
/// Grains that turn out to be damaged go with their pack, and are compressed again.
pub(super) fn run(
    context: &StageContext<'_>,
    target: &Target,
    images: &[&Image],
    inputs: &[&Snapshot],
) -> Result<StageOutput, StageError> {
    let machines = Machine::all(context, images, inputs);
    loop {
        match make(context, target, &machines) {
            Err(StageError::Disk(DiskError::DamagedPack { pack })) => {
                context.store().blobs().remove(&pack)?
            }
            Err(error @ StageError::Disk(DiskError::Disagree { .. })) => {
                // Once they are mended, they have to be looked at again.
                inputs.iter().try_for_each(|input| layer_index::forget(context.store(), &input.layers))?;
                return Err(error);
            }
            made => return made,
        }
    }
}

/// Packs the image once more, of its layers and nothing else. `None` if that gives the same bytes.
pub(super) fn run_again(
    context: &StageContext<'_>,
    target: &Target,
    images: &[&Image],
    inputs: &[&Snapshot],
    before: &Artifact,
) -> Result<Option<String>, StageError> {
    let machines = Machine::all(context, images, inputs);
    let scratch = context.store().run_dir()?;
    let again = Packing::new(context, target, &machines, scratch.path()).pack_from_nothing()?;
    Ok((again.digest != before.blob).then(|| {
        format!(
            "{} of {} bytes, {} of {} bytes when it is packed from nothing",
            before.blob, before.size, again.digest, again.size
        )
    }))
}

fn make(
    context: &StageContext<'_>,
    target: &Target,
    machines: &[Machine<'_>],
) -> Result<StageOutput, StageError> {
    let scratch = context.store().run_dir()?;
    let packing = Packing::new(context, target, machines, scratch.path());
    let spare = PreviousOutput::of(context.store(), context.project_name(), &target.to_string());
    let Packed { path, seed_copy, file, composition } = packing.pack(&spare)?;
    let file = Artifact { blob: file.digest, size: file.size };
    let listed = composition.as_ref().map(|made| made.put(context.store())).transpose()?.flatten();
    let output = match composition.zip(listed) {
        Some((made, composition)) => {
            let memory = GrainMemory::new(context.store());
            memory.remember(context.project_name(), &target.to_string(), composition.blob);
            StageOutput::Composed(Composed { file, composition, packs: made.packs().to_vec() })
        }
        None => {
            context.store().blobs().adopt(&path, &file.blob)?;
            StageOutput::Artifact(file)
        }
    };
    if target.format.needs_disk() {
        packing.remember_boot_loaders(output.blobs()[0].blob)?;
    }
    if let StageOutput::Composed(made) = &output {
        context.finished().add(made.file.blob, PendingArtifact { path, seed_copy, spare, _dir: scratch });
    }
    Ok(output)
}

/// The keys of what makes the machines' disks as VMDK.
fn vmdk_keys(context: &StageContext<'_>, machines: &[Machine<'_>]) -> Vec<ActionKey> {
    machines.iter().map(|machine| machine.describe_vmdk(context.epoch()).key()).collect()
}
