//! A small real project: several stages over busybox, in a store of its own, built by the real program.
//!
//! Its bootstrap is not a Debian but a directory with busybox in it, put into the store as what the bootstrap made. All
//! other stages run in real sandboxes, in a few milliseconds each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ibuild::cache::{Batch, RocksIndex, Store};
use ibuild::graph::{DirtyReason, Executor, FinishedRun, RunMemory};
use ibuild::stages::packages::NullFetchObserver;
use ibuild::stages::recipe::{Overrides, Recipe};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};
use ibuild::stages::{ArchiveOptions, ExecutorOptions, NullObserver, Project, StageExecutor, StageOutput};

const BUSYBOX: &str = "/bin/busybox";
const BOOTSTRAP: &str = "base/bootstrap";

/// The target that tests build.
pub const TARGET: &str = "main.rootfs.tar.zst";
/// What the bootstrap is keyed by. A recipe of a test's own begins with it.
pub const HEAD: &str = r#"
schema = 1
[project]
name = "lab"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
mirror = "http://127.0.0.1:9/debian"
[rootfs.base]
steps = [{ name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } }]
[image.main]
rootfs = "main"
formats = ["rootfs.tar.zst"]
disk = { size = "192 MiB" }
"#;

/// One stage of each kind that needs no package, and every kind of change: files large and many, edits, removals.
const BODY: &str = r#"
[rootfs.tools]
from = "base"
steps = [{ name = "compile", run = "mkdir -p /opt/tool && yes tool | head -c 700000 > /opt/tool/program" }]
[rootfs.main]
from = "base"
steps = [
  { name = "files", copy = [{ from = "files", to = "/" }] },
  { name = "many", run = "mkdir /many && for n in $(seq 200); do echo $n > /many/$n; done" },
  { name = "scripts", scripts = "scripts" },
  { name = "dist", copy-from = { rootfs = "tools", paths = ["/opt/tool"] } },
  { name = "sane", check = "test -s /big && test -x /opt/tool" },
  { name = "last", run = "rm -rf /many && ln -s big /link" },
]
"#;

/// Stands in for GRUB's: its images are what they are to be made of.
const GRUB: &str = "#!/bin/sh -e
while [ $# -gt 0 ]; do
  case $1 in
  -O) format=$2 && shift ;;
  -m) memdisk=$2 && shift ;;
  -o) out=$2 && shift ;;
  *) modules=\"$modules $1\" ;;
  esac
  shift
done
{ echo \"$format $modules\" && cat \"$memdisk\"; } > \"$out\"
";

/// Numbers that do not compress well, the same each time.
const BIG: &str = "#!/bin/sh
awk 'BEGIN { srand(7); while (n++ < 120000) print int(rand() * 1000000000) }' > /big
";

const CHANGE: &str = "#!/bin/sh
echo changed > /etc/a
rm /etc/b
mkdir -p /var/lib
cp /big /var/lib/copy
chmod 4750 /etc/sub
";

const LOCK: &str = "format 1
release debian main trixie sha256:1111111111111111111111111111111111111111111111111111111111111111 10 2026-01-01T00:00:00Z
";

/// `project`, `home` and `store` in a directory that goes with the test.
pub struct Lab {
    root: tempfile::TempDir,
    store: PathBuf,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A build as its events tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The artifact's digest.
    pub digest: String,
    /// The stages that ran, in the order in which they ended.
    pub ran: Vec<String>,
    /// The tree of every stage.
    pub trees: BTreeMap<String, String>,
    /// The layers of the last one.
    pub layers: Vec<String>,
}

impl Lab {
    /// With what the bootstrap made, and nothing else, in the store.
    pub fn new() -> Self {
        let lab = Self::without_store();
        lab.seed();
        lab
    }

    /// Without a store.
    pub fn without_store() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "sandboxes and mounts need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let root = tempfile::tempdir_in(place()).unwrap();
        let store = root.path().join("store");
        let lab = Self { root, store };
        for dir in ["home", "project/files/etc/sub", "project/scripts"] {
            fs::create_dir_all(lab.path(dir)).unwrap();
        }
        let recipe = HEAD.to_owned() + BODY;
        let files = [
            ("ibuild.toml", recipe.as_str()),
            ("ibuild.lock", LOCK),
            ("files/etc/a", "a\n"),
            ("files/etc/b", "b\n"),
            ("files/etc/sub/c", "c\n"),
            ("scripts/10-big", BIG),
            ("scripts/20-change", CHANGE),
        ];
        files.iter().for_each(|(name, text)| lab.write(name, text));
        lab
    }

    /// Has the store somewhere else from now on, for example on a file system of its own.
    pub fn use_store(&mut self, dir: &Path) {
        self.store = dir.to_owned();
    }

    /// Something beside the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn store_dir(&self) -> &Path {
        &self.store
    }

    /// Where targets go.
    pub fn artifact(&self) -> PathBuf {
        self.path("project/out").join(TARGET)
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path("project").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces what stands once in a file of the project.
    #[track_caller]
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path("project").join(name)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {text}");
        self.write(name, &text.replace(old, new));
    }

    /// Puts into the store what the bootstrap would have made.
    pub fn seed(&self) {
        let recipe =
            Recipe::load(&self.path("project"), &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
        let project = Project::new(&recipe);
        let store = self.open_store();
        let archives = ArchiveOptions { lock: self.path("project/ibuild.lock"), ..ArchiveOptions::default() };
        let supervisor = Supervisor::new(
            InitProgram { program: "/nonexistent".into(), arguments: Vec::new() },
            Cancel::default(),
        );
        let options = ExecutorOptions { archives, ..ExecutorOptions::default() };
        let (nobody, unobserved) = (Arc::new(NullObserver), Arc::new(NullFetchObserver));
        let executor = StageExecutor::new(&project, &store, supervisor, options, nobody, unobserved);
        let stage = project.step_stage(&BOOTSTRAP.parse().unwrap()).unwrap();
        let description = executor.describe(stage, &[]).unwrap();
        let (output, facts) = busybox_root(&store);
        let memory = RunMemory::new(&store, "lab");
        memory
            .remember_run(
                project.graph.name(stage),
                FinishedRun {
                    description: &description,
                    facts,
                    reason: DirtyReason::NeverBuilt.into(),
                    millis: 1,
                },
                &output,
            )
            .unwrap();
    }

    /// The store by way of the library.
    pub fn open_store(&self) -> Store {
        Store::open(&self.store, RocksIndex::new).unwrap()
    }

    /// The program in the project's directory, in a cleared environment.
    pub fn ibuild(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command
            .args(arguments)
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("IBUILD_CACHE_DIR", &self.store)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.ibuild(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let status = output.status.code().expect("ibuild was killed by a signal");
        Outcome { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Tries to build the target.
    pub fn try_build(&self) -> Outcome {
        self.run(&["build", "--target", TARGET, "--json"])
    }

    /// Builds the target; that has to succeed.
    #[track_caller]
    pub fn build(&self) -> Built {
        self.try_build().built(&self.artifact())
    }

    /// Removes what was built last.
    pub fn clean(&self) {
        let _ = fs::remove_dir_all(self.path("project/out"));
    }

    /// `cache fsck` has to find nothing wrong.
    #[track_caller]
    pub fn assert_sound(&self) {
        let checked = self.run(&["cache", "fsck"]);
        assert_eq!(checked.status, 0, "{}{}", checked.stdout, checked.stderr);
    }
}

impl Outcome {
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// It has to have failed because of something outside, with one message that has these words in it.
    #[track_caller]
    pub fn fails_outside(&self, words: &[&str]) {
        assert_eq!(self.status, 3, "{}{}", self.stdout, self.stderr);
        let errors = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "{}", self.stderr);
        words.iter().for_each(|word| assert!(self.stderr.contains(word), "no {word:?} in {}", self.stderr));
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("os error"), "{}", self.stderr);
    }

    /// The events of a build that has to have succeeded. What lies in `artifact` has to have the digest that was said.
    #[track_caller]
    pub fn built(self, artifact: &Path) -> Built {
        let said = self.succeeds();
        let events = events(&said);
        let built = events.iter().find(|event| event["event"] == "built").expect("a closing event");
        let digest = built["blake3"].as_str().unwrap().to_owned();
        assert_eq!(
            blake3::hash(&fs::read(artifact).unwrap()).to_hex().as_str(),
            digest,
            "wrong bytes in `out`"
        );
        let manifest = artifact.with_file_name(format!("{TARGET}.manifest.json"));
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        assert_eq!(manifest["blake3"], digest.as_str());
        let trees = manifest["stages"].as_array().unwrap().iter().map(|stage| {
            (stage["stage"].as_str().unwrap().to_owned(), stage["tree"].as_str().unwrap().to_owned())
        });
        let layers =
            manifest["layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap().to_owned());
        Built { digest, ran: finished(&events, "ran"), trees: trees.collect(), layers: layers.collect() }
    }
}

impl Built {
    /// Both made the same, by the same layers, whatever ran.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        assert_eq!((&self.digest, &self.trees, &self.layers), (&other.digest, &other.trees, &other.layers));
    }
}

/// The events of a build as far as it told them: a line that was cut off is none.
pub fn events(said: &str) -> Vec<serde_json::Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The stages that are durable, whatever happens.
pub fn kept(events: &[serde_json::Value]) -> Vec<String> {
    let kept = events.iter().filter(|event| event["event"] == "kept");
    kept.map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
}

/// The stages that came to this end.
pub fn finished(events: &[serde_json::Value], outcome: &str) -> Vec<String> {
    let of = |event: &&serde_json::Value| event["event"] == "finished" && event["outcome"] == outcome;
    events.iter().filter(of).map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
}

/// In memory if there is room: a build makes each of its results durable, and not every disk is fast. Else not in `/tmp`,
/// which may be a file system without the attributes that overlays use.
fn place() -> &'static str {
    let room = nix::sys::statvfs::statvfs("/dev/shm").map_or(0, |s| s.blocks_available() * s.fragment_size());
    if room > 1 << 30 { "/dev/shm" } else { "/var/tmp" }
}

/// Copies a directory with everything that it has. A program does it, so that it sees the mounts of the calling thread.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// A root with nothing but busybox, as a stage without a parent would have made it.
fn busybox_root(store: &Store) -> (StageOutput, Batch) {
    let run = store.run_dir().unwrap();
    let upper = run.path().join("upper");
    make_busybox_root(&upper);
    let (trees, mut facts) = (TreeStore::new(store), Batch::default());
    let context = CaptureContext { trees: &trees, epoch: 1_767_225_600, volatile: VolatileList::with(&[]) };
    let captured = capture(&context, &upper, None).unwrap();
    let layer = LayerStore::new(store).publish(&upper, &captured.changes, &mut facts).unwrap();
    trees.flush(&mut facts);
    (StageOutput::Snapshot(Snapshot::of(captured.tree, vec![layer.id])), facts)
}

fn make_busybox_root(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let dirs = ["usr/bin", "usr/lib", "usr/lib/grub", "usr/lib/grub/i386-pc", "usr/sbin", "var"];
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr"].into_iter().chain(dirs) {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    let applets = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let grub = root.join("usr/bin/grub-mkimage");
    fs::write(&grub, GRUB).unwrap();
    fs::set_permissions(&grub, fs::Permissions::from_mode(0o755)).unwrap();
    let boot_sector = [[0; 510].as_slice(), &[0x55, 0xaa]].concat();
    fs::write(root.join("usr/lib/grub/i386-pc/boot.img"), boot_sector).unwrap();
}
