//! GRUB's images for a disk: made in a sandbox over the layers that GRUB comes from, and made once for them.
//!
//! Layers above the last one that touches GRUB are not there when its images are made, so they cannot change them and are not
//! in the key: an edit of a late layer finds what was made before. That is all that there is to it, and so this is no
//! stage: which step brings GRUB is known only when its layer is, and nobody needs GRUB's images but a disk that is packed.
//!
//! A stage would need every step as an input, would be `maybe` in every plan, and would be looked up in every build.

use std::collections::BTreeMap;
use std::time::Duration;

use ibuild_cache::{ActionKey, LayerId};
use ibuild_graph::{Description, Value};

use super::Machine;
use super::packing::Packing;
use crate::StageError;
use crate::disk::{BootFiles, DiskSpec, GrubPlan};
use crate::executor::observer::BootOutcome;
use crate::executor::resolved::SANDBOX;
use crate::executor::stage_run::{StageCommand, StageRun, policy};
use crate::fields::{CONTENTS, LAYERS};
use crate::image::boot_loaders::{BootLoader, BootMemory};
use crate::recipe::Limits;
use crate::sandbox::{self, NetworkSpec, Payload, SandboxView, Shown, ShownContent};
use crate::snapshot::Snapshot;
use crate::snapshot::files::{LayerChange, Listed};

/// Longer than any `grub-mkimage` takes.
const GRUB_TIMEOUT: Duration = Duration::from_secs(300);

/// Raised when GRUB's images are made in another way. In the key of a disk as well, which is looked up before the layers are read.
pub(super) const IMPLEMENTATION: i64 = 2;

/// Where the images are written, below `/run/ibuild`.
const OUT: &str = "out";

/// What belongs to GRUB, from the root on.
const GRUB: [&[u8]; 2] = [b"usr/lib/grub", b"usr/bin/grub-mkimage"];

impl Packing<'_, '_> {
    /// What starts the disk of a machine whose layers hold this.
    pub(super) fn boot_loader(
        &self,
        machine: &Machine<'_>,
        disk: &DiskSpec,
        layers: &[Listed<LayerChange>],
    ) -> Result<BootFiles, StageError> {
        let plan = GrubPlan::new(disk);
        let root = grub_root(machine.snapshot, layers);
        let view = view(&plan, self.context.epoch());
        let made_by = describe(&view, &root.layers, self.context.epoch()).key();
        let image = machine.image.name.as_str();
        // Held while one is made: another packing that needs the same waits for it.
        let mut known = self.context.boot_loaders().0.lock().expect("no panic while held");
        let files = match known.get(&made_by) {
            Some(files) => files.clone(),
            None => self.find_or_make(image, made_by, || self.make_boot_files(&plan, &view, &root, disk))?,
        };
        known.insert(made_by, files.clone());
        let loader = BootLoader { made_by, files: files.clone() };
        self.boot_loaders.borrow_mut().insert(image.to_owned(), loader);
        Ok(files)
    }

    fn find_or_make(
        &self,
        image: &str,
        made_by: ActionKey,
        make: impl FnOnce() -> Result<BootFiles, StageError>,
    ) -> Result<BootFiles, StageError> {
        let memory = BootMemory::new(self.context.store(), self.context.project_name());
        let found = memory.find(image)?.filter(|found| found.made_by == made_by);
        let (files, outcome) = match found {
            Some(found) => (found.files, BootOutcome::Found),
            None => (make()?, BootOutcome::Made),
        };
        self.context.observer().boot_loader(&self.target.to_string(), outcome);
        Ok(files)
    }

    /// The images come from the GRUB in the root file system, made in a sandbox of which nothing else is kept.
    fn make_boot_files(
        &self,
        plan: &GrubPlan,
        view: &SandboxView,
        root: &Snapshot,
        disk: &DiskSpec,
    ) -> Result<BootFiles, StageError> {
        let run = StageRun::over(self.context, Some(root))?;
        let command = StageCommand {
            stage: &self.target.to_string(),
            program: &format!("`grub-mkimage` (from {})", plan.packages().join(", ")),
            view,
            epoch: self.context.epoch(),
            archives: &[],
            from: None,
            base_packages: &[],
            policy: policy(Some(GRUB_TIMEOUT), &Limits::default()),
            guard: None,
        };
        run.run(self.context, &command)?;
        Ok(BootFiles::read(&run.output(OUT), disk.firmware)?)
    }
}

/// What the sandbox holds and does in which GRUB's images are made.
fn view(plan: &GrubPlan, epoch: i64) -> SandboxView {
    let shown = |path: &str, content| Shown { path: path.into(), content };
    let script = plan.script("/run/ibuild/memdisk", "/run/ibuild/out").into_bytes();
    SandboxView {
        machine: sandbox::VisibleMachine::canonical(),
        shown: vec![
            shown("grub", ShownContent::Program(script)),
            shown("memdisk", ShownContent::Data(plan.memdisk())),
            shown(OUT, ShownContent::Output),
        ],
        secrets: Vec::new(),
        inject: Vec::new(),
        epoch,
        network: NetworkSpec::Isolated,
        env: BTreeMap::from([("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())]),
        payload: Payload::Exec { argv: ["/bin/sh", "/run/ibuild/grub"].map(str::to_owned).to_vec() },
    }
}

/// Everything that can change GRUB's images.
fn describe(view: &SandboxView, layers: &[LayerId], epoch: i64) -> Description {
    let mut description = Description::new("boot loader", IMPLEMENTATION);
    let layers = layers.iter().map(|layer| Value::Digest(*layer.as_bytes()));
    description.set(LAYERS, Value::List(layers.collect()));
    description.set("sandbox", SANDBOX);
    description.set("epoch", epoch);
    description.set(CONTENTS, view.value());
    description
}

/// The snapshot up to the last layer that touches GRUB. Its tree says how the root directory looks, and no more is asked of it.
fn grub_root(snapshot: &Snapshot, layers: &[Listed<LayerChange>]) -> Snapshot {
    let last = layers.iter().rposition(touches_grub).unwrap_or(0);
    Snapshot::of(snapshot.tree, snapshot.layers.iter().take(last + 1).copied().collect())
}

/// Whether a layer has anything of GRUB, or takes away a directory in which it is.
fn touches_grub(layer: &Listed<LayerChange>) -> bool {
    let is_below = |path: &[u8], dir: &[u8]| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    layer.iter().any(|(path, change)| match change {
        LayerChange::Set(_) => GRUB.iter().any(|grub| is_below(path, grub)),
        LayerChange::Removed => GRUB.iter().any(|grub| is_below(path, grub) || is_below(grub, path)),
    })
}

#[cfg(test)]
mod tests {
    use ibuild_cache::TreeId;

    use super::*;
    use crate::snapshot::files::{LayerFile, LayerKind};
    use crate::snapshot::tree::Metadata;

    fn set(path: &str) -> (Vec<u8>, LayerChange) {
        let file = LayerFile { meta: Metadata::default(), kind: LayerKind::Directory };
        (path.into(), LayerChange::Set(file))
    }

    fn removed(path: &str) -> (Vec<u8>, LayerChange) {
        (path.into(), LayerChange::Removed)
    }

    #[test]
    fn layers_above_the_last_one_with_grub_do_not_count() {
        let layers: Vec<LayerId> = (1..=5).map(|n| LayerId::from_bytes([n; 32])).collect();
        let snapshot = Snapshot::of(TreeId::from_bytes([9; 32]), layers);
        let check = |last: Vec<(Vec<u8>, LayerChange)>, count: usize| {
            let contents = [
                vec![set("usr")],
                vec![set("usr/bin"), set("usr/bin/grub-mkimage")],
                vec![set("usr/lib/grub-other"), set("usr/lib")],
                vec![set("etc/motd"), removed("usr/bin/x")],
                last,
            ];
            assert_eq!(grub_root(&snapshot, &contents).layers.len(), count);
        };
        check(vec![], 2);
        check(vec![set("usr/bin/grub-mkimage2"), removed("usr/lib/x")], 2);
        check(vec![set("usr/lib/grub/i386-pc/boot.img")], 5);
        check(vec![removed("usr/lib/grub")], 5);
        check(vec![removed("usr/lib")], 5);
    }

    #[test]
    fn the_key_covers_layers_and_configuration() {
        let disk = DiskSpec::new("veil", 1 << 30, 0);
        let key = |disk: &DiskSpec, layers: &[u8]| {
            let layers: Vec<LayerId> = layers.iter().map(|n| LayerId::from_bytes([*n; 32])).collect();
            describe(&view(&GrubPlan::new(disk), disk.epoch as i64), &layers, disk.epoch as i64).key()
        };
        let mut other = disk.clone();
        other.cmdline = "quiet".into();
        assert_eq!(key(&disk, &[1, 2]), key(&disk.clone(), &[1, 2]));
        assert_ne!(key(&disk, &[1, 2]), key(&disk, &[1, 3]));
        assert_ne!(key(&disk, &[1, 2]), key(&other, &[1, 2]));
        // What is shown has this time.
        let later = DiskSpec { epoch: 1, ..disk.clone() };
        assert_ne!(key(&disk, &[1, 2]), key(&later, &[1, 2]));
    }
}
