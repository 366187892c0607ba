//! Chains of many layers through real sandboxes. They need root, overlayfs and namespaces.
//!
//! `IBUILD_NIGHTLY=1` makes the chain longer than an overlay could be without merging.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild::cache::{Batch, LayerId, MemoryIndex, Store};
use ibuild::stages::sandbox::{
    Cancel, End, HostPaths, InitProgram, Limits, NetworkSpec, Payload, RunPolicy, SandboxView, Spec, Stdio,
    Supervisor, VisibleMachine,
};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::flat::write_flat;
use ibuild::stages::snapshot::unpack::{Dialect, unpack};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};

const BUSYBOX: &str = "/bin/busybox";

/// Everything of a root file system that a program can see, but the sizes of directories, the numbers of links, and what
/// the sandbox mounts.
const LOOK: &str = "cd /; find . -xdev | grep -vE '^\\.(/(proc|sys|dev|run|tmp))?$' | sort > /tmp/all; \
    xargs stat -c '%n %f %u %g %Y' < /tmp/all; find . -xdev -type f | grep -v ^./tmp | sort | xargs md5sum";

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "sandboxes need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        Self { root, store }
    }

    fn layers(&self) -> LayerStore<'_> {
        LayerStore::new(&self.store)
    }

    /// Runs a script over a snapshot; gives what it changed and what it said.
    fn run(&self, layers: &[LayerId], script: &str) -> (ibuild::cache::RunDir, String) {
        let run = self.store.run_dir().unwrap();
        make_dir(&run.path().join("upper"));
        let log = run.path().join("log");
        let spec = self.spec(run.path(), self.layers().lowers(layers).unwrap(), script);
        let file = fs::File::create(&log).unwrap();
        let ended = supervisor().run(&spec, Some(&file), |_| Ok(())).unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(ended.end, End::SUCCESS, "{script}: {said}");
        (run, said)
    }

    fn spec(&self, run_dir: &Path, lowers: Vec<String>, script: &str) -> Spec {
        let view = SandboxView {
            machine: VisibleMachine::canonical(),
            shown: Vec::new(),
            secrets: Vec::new(),
            inject: Vec::new(),
            epoch: 0,
            network: NetworkSpec::Isolated,
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            payload: Payload::Exec { argv: ["/bin/sh", "-ec", script].map(str::to_owned).to_vec() },
        };
        let place = HostPaths {
            layers_dir: self.store.layout().layers(),
            lowers,
            run_dir: run_dir.to_owned(),
            from: Vec::new(),
            sources: Vec::new(),
            authority: None,
        };
        let (timeout, limits) = (Some(Duration::from_secs(60)), Limits::default());
        Spec::new(&view, place, RunPolicy { timeout, limits, stdio: Stdio::Log })
    }

    fn keep(&self, upper: &Path, parent: Option<&Snapshot>) -> Snapshot {
        let trees = TreeStore::new(&self.store);
        let volatile = VolatileList::with(&[]);
        let context = CaptureContext { trees: &trees, epoch: 1_700_000_000, volatile };
        let captured = capture(&context, upper, parent.map(|parent| parent.tree)).unwrap();
        let mut layers = parent.map(|parent| parent.layers.clone()).unwrap_or_default();
        let mut batch = Batch::default();
        layers.push(self.layers().publish(upper, &captured.changes, &mut batch).unwrap().id);
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        Snapshot::of(captured.tree, layers)
    }

    /// A snapshot of one layer that has the same tree.
    fn flat(&self, snapshot: &Snapshot) -> Snapshot {
        let dir = self.root.path().join("flat");
        make_dir(&dir);
        let mut tarball = Vec::new();
        write_flat(&TreeStore::new(&self.store), &self.layers(), snapshot, &mut tarball).unwrap();
        unpack(&tarball[..], &dir, Dialect::Layer).unwrap();
        self.keep(&dir, None)
    }
}

fn supervisor() -> Supervisor {
    let program = env!("CARGO_BIN_EXE_ibuild").into();
    Supervisor::new(InitProgram { program, arguments: vec!["__stage-init".to_owned()] }, Cancel::default())
}

fn make_dir(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

fn make_base(base: &Path) {
    make_dir(base);
    for dir in ["bin", "proc", "sys", "dev", "run", "tmp", "d0", "d1", "d2"] {
        make_dir(&base.join(dir));
    }
    fs::copy(BUSYBOX, base.join("bin/busybox")).unwrap();
    for applet in
        ["sh", "find", "grep", "sort", "xargs", "stat", "md5sum", "rm", "mkdir", "ln", "chmod", "mv", "mknod"]
    {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
}

/// Edits of all kinds that layers tell apart: new, changed, removed, hidden whole, another kind of file in its place.
fn script(number: usize) -> String {
    let (dir, old) = (number % 5, number.saturating_sub(3));
    let is_even = (number / 7).is_multiple_of(2);
    let edit = match number % 7 {
        // Directories whose files come and go while nothing else has them.
        4 if is_even => format!("mkdir g{number}; echo 1 > g{number}/a; echo 2 > g{number}/b"),
        5 if is_even => format!("rm g{0}/a; mkdir g{0}/c; echo > g{0}/c/f", number - 1),
        6 if is_even => format!("rm -rf g{0}/c; mkdir g{0}/c", number - 2),
        0 => format!("rm -rf d{dir}; mkdir d{dir}; echo {number} > d{dir}/anew"),
        1 => format!("rm -rf d{dir}; echo {number} > d{dir}"),
        2 => format!("mkdir -p e/{number}/deep; chmod 1770 e; echo {number} > e/{number}/deep/f"),
        3 => format!("rm -rf e/{}", number - 1),
        4 => format!("echo {number} > a{number}; ln a{number} b{number}; ln -s a{number} c{number}"),
        5 => "echo more >> common; mknod null c 1 3 || rm null".to_owned(),
        _ => format!("rm -rf d{dir}; mkdir d{dir}; chmod 700 d{dir}"),
    };
    format!(
        "cd /; {edit}; echo {number} > n{number}; rm -f n{old}; [ -d d{dir} ] && echo {number} > d{dir}/x || :"
    )
}

/// Removes what one group has and makes it again in the next, and then removes a part of that.
fn across(number: usize) -> &'static str {
    match number {
        20 => "; mkdir -p k/b; echo 1 > k/b/c; echo 1 > k/b/d",
        80 => "; rm -rf k",
        81 => "; mkdir -p k/b; echo 2 > k/b/c; echo 2 > k/b/e",
        82 => "; rm k/b/c",
        _ => "",
    }
}

fn chain(lab: &Lab, length: usize) -> Snapshot {
    let base: PathBuf = lab.root.path().join("base");
    make_base(&base);
    let mut snapshot = lab.keep(&base, None);
    for number in 1..length {
        let (run, _) = lab.run(&snapshot.layers, &(script(number) + across(number)));
        snapshot = lab.keep(&run.path().join("upper"), Some(&snapshot));
    }
    assert_eq!(snapshot.layers.len(), length, "a stage changed nothing");
    snapshot
}

#[allow(clippy::disallowed_methods, reason = "the nightly run of the tests says so in the environment")]
fn length() -> usize {
    if std::env::var_os("IBUILD_NIGHTLY").is_some() { 300 } else { 140 }
}

#[test]
fn a_long_chain_looks_like_its_flat_result() {
    let lab = Lab::new();
    let deep = chain(&lab, length());
    let names = lab.layers().lowers(&deep.layers).unwrap();
    assert!(names.len() < deep.layers.len(), "nothing was merged");
    let flat = lab.flat(&deep);
    assert_eq!(flat.tree, deep.tree);
    let flat_look = lab.run(&flat.layers, LOOK).1;
    assert!(flat_look.lines().count() > 100, "{flat_look}");
    assert_same_lines(&lab.run(&deep.layers, LOOK).1, &flat_look);
    // All that is unpacked can go, and comes back the same from the tarballs.
    for name in fs::read_dir(lab.store.layout().layers()).unwrap() {
        lab.store.discard(&name.unwrap().path()).unwrap();
    }
    assert_same_lines(&lab.run(&deep.layers, LOOK).1, &flat_look);
}

#[track_caller]
fn assert_same_lines(left: &str, right: &str) {
    let only = |a: &str, b: &str| -> Vec<String> {
        a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    assert_eq!(only(left, right), only(right, left));
}

#[test]
fn a_merged_directory_goes_with_its_layers() {
    let lab = Lab::new();
    let deep = chain(&lab, 101);
    let merged = |name: &String| name.starts_with('m') && name.len() == 23;
    let name =
        lab.layers().lowers(&deep.layers).unwrap().into_iter().find(merged).expect("nothing was merged");
    let place = lab.store.layout().layers().join(name);
    assert!(place.exists());
    let (high, low) = (deep.layers[100], deep.layers[30]);
    lab.layers().remove(&lab.layers().find(&high).unwrap().unwrap()).unwrap();
    assert!(place.exists());
    lab.layers().remove(&lab.layers().find(&low).unwrap().unwrap()).unwrap();
    assert!(!place.exists());
}
