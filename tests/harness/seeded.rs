//! Projects whose bootstrap is in the store already: a root file system of one busybox. What comes after it is real, and
//! needs neither a mirror nor minutes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use ibuild::cache::{Batch, RocksIndex, Store};
use ibuild::graph::{DirtyReason, Executor, FinishedRun, RunMemory};
use ibuild::stages::packages::NullFetchObserver;
use ibuild::stages::recipe::{Overrides, Recipe, StepKind};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};
use ibuild::stages::{
    ArchiveOptions, ExecutorOptions, Job, NullObserver, Project, StageExecutor, StageOutput,
};

const BUSYBOX: &str = "/bin/busybox";

/// The archive is never asked for anything.
const HEAD: &str = "schema = 1
[project]
name = \"seeded\"
epoch = 1767225600
[archive.debian]
suites = [\"trixie\"]
components = [\"main\"]
";

/// Writes a project of these steps over a busybox, with the image `ws.rootfs.tar.zst`, and lets the store know its bootstrap.
pub fn project(dir: &Path, cache: &Path, steps: &str) {
    let image = "[image.ws]\nrootfs = \"ws\"\nformats = [\"rootfs.tar.zst\"]\ndisk = { size = \"1 GiB\" }\n";
    let bootstrap = "{ name = \"bootstrap\", bootstrap = { archive = \"debian\", variant = \"minbase\" } }";
    let rootfs = format!("[rootfs.ws]\nsteps = [\n{bootstrap},\n{steps}]\n");
    fs::write(dir.join("ibuild.toml"), format!("{HEAD}{rootfs}{image}")).unwrap();
    seed(dir, cache);
}

const LOCK: &str = "format 1
release debian main trixie sha256:1111111111111111111111111111111111111111111111111111111111111111 10 2026-01-01T00:00:00Z
";

/// Makes the bootstraps of the project in `dir` known to the store in `cache`, and writes the lock that they are of.
#[allow(clippy::too_many_lines, reason = "a story in its order")]
pub fn seed(dir: &Path, cache: &Path) {
    assert!(nix::unistd::geteuid().is_root(), "stages need root");
    assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
    fs::write(dir.join("ibuild.lock"), LOCK).unwrap();
    let store = Store::open(cache, RocksIndex::new).unwrap();
    let recipe = Recipe::load(dir, &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    let project = Project::new(&recipe);
    let archives = ArchiveOptions { lock: dir.join("ibuild.lock"), ..ArchiveOptions::default() };
    let init = InitProgram { program: "/nonexistent".into(), arguments: Vec::new() };
    let options = ExecutorOptions { archives, ..ExecutorOptions::default() };
    let supervisor = Supervisor::new(init, Cancel::default());
    let executor = StageExecutor::new(
        &project,
        &store,
        supervisor,
        options,
        Arc::new(NullObserver),
        Arc::new(NullFetchObserver),
    );
    let (snapshot, facts) = root(&store, recipe.project.epoch);
    let mut facts = Some(facts);
    for stage in project.graph.in_build_order() {
        let Job::Step { step, .. } = project.job(stage) else { continue };
        if matches!(step.kind, StepKind::Bootstrap { .. }) {
            let description = executor.describe(stage, &[]).unwrap();
            let output = StageOutput::Snapshot(snapshot.clone());
            let memory = RunMemory::new(&store, recipe.project.name.as_str());
            let (name, facts) = (project.graph.name(stage), facts.take().unwrap_or_default());
            memory
                .remember_run(
                    name,
                    FinishedRun {
                        description: &description,
                        facts,
                        reason: DirtyReason::NeverBuilt.into(),
                        millis: 1000,
                    },
                    &output,
                )
                .unwrap();
        }
    }
}

fn root(store: &Store, epoch: i64) -> (Snapshot, Batch) {
    let run = store.run_dir().unwrap();
    let upper = run.path().join("upper");
    make_root(&upper);
    let trees = TreeStore::new(store);
    let context = CaptureContext { trees: &trees, epoch, volatile: VolatileList::with(&[]) };
    let captured = capture(&context, &upper, None).unwrap();
    let mut facts = Batch::default();
    let layer = LayerStore::new(store).publish(&upper, &captured.changes, &mut facts).unwrap();
    trees.flush(&mut facts);
    (Snapshot::of(captured.tree, vec![layer.id]), facts)
}

fn make_root(root: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "run", "tmp", "usr/sbin", "srv"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for applet in
        ["sh", "cat", "cp", "date", "echo", "env", "find", "ls", "mkdir", "rm", "sed", "sort", "test", "true"]
    {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    // A machine that has none would be given one to choose.
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
}
