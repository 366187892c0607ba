//! How fast snapshots are taken, restored and stood upon, beside `tar` and `zstd` on the same files in the same run.
//!
//! ```text
//! cargo bench --bench snapshots
//! ```
//!
//! Needs root, overlayfs, 12 GB below `/var/tmp`, `busybox-static`, `tar` and `zstd`. What is read is in the page cache, as
//! what a stage has just written is. The machine is shared, so ratios say more than rates.
#![allow(clippy::print_stdout, reason = "a bench tells what it measured")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ibuild::cache::{Batch, RocksIndex, Store, TreeId};
use ibuild::stages::sandbox::{
    Cancel, End, HostPaths, InitProgram, Limits, NetworkSpec, Payload, RunPolicy, SandboxView, Spec, Stdio,
    Supervisor, VisibleMachine,
};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};

const EPOCH: i64 = 1_700_000_000;
const MB: f64 = 1e6;
const BUSYBOX: &str = "/bin/busybox";

fn main() {
    let lab = Lab::new();
    println!("{:<58} {:>10} {:>12}", "what", "figure", "beside");
    let small = Shape { files: 20_000, bytes: 500_000_000 };
    let captured = captures(&lab, "500 MB in 20,000 files", small);
    drop(captured);
    let large = captures(&lab, "1.5 GB in 30,000 files", Shape { files: 30_000, bytes: 1_500_000_000 });
    restores(&lab, &large);
    starts(&lab);
}

fn row(what: &str, figure: &str, beside: &str) {
    println!("{what:<58} {figure:>10} {beside:>12}");
}

struct Lab {
    root: tempfile::TempDir,
    store: Store,
    supervisor: Supervisor,
}

struct Shape {
    files: u64,
    bytes: u64,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), RocksIndex::new).unwrap();
        let program = env!("CARGO_BIN_EXE_ibuild").into();
        let init = InitProgram { program, arguments: vec!["__stage-init".to_owned()] };
        Self { root, store, supervisor: Supervisor::new(init, Cancel::default()) }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Captures and publishes as a stage does, up to the committed facts.
    fn stage(&self, upper: &Path, parent: Option<&Snapshot>) -> Snapshot {
        self.timed_stage(upper, parent).0
    }

    /// The same, and after how many seconds the next stage could start.
    fn timed_stage(&self, upper: &Path, parent: Option<&Snapshot>) -> (Snapshot, f64) {
        let start = Instant::now();
        let trees = TreeStore::new(&self.store);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let captured = capture(&context, upper, parent.map(|parent| parent.tree)).unwrap();
        let mut layers = parent.map(|parent| parent.layers.clone()).unwrap_or_default();
        let mut batch = Batch::default();
        let store = LayerStore::new(&self.store);
        let is_changed = !captured.changes.is_empty();
        layers.extend(is_changed.then(|| store.adopt(upper, &captured.changes).unwrap()));
        let ready = start.elapsed().as_secs_f64();
        if let Some(layer) = layers.last().filter(|_| is_changed) {
            store.pack(layer, &captured.changes, &mut batch).unwrap();
        }
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        (Snapshot::of(captured.tree, layers), ready)
    }
}

/// Bytes that compress about as well as a Debian system: to a third.
struct Text(u64);

impl Text {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            let random = self.next();
            let is_word = !random.is_multiple_of(4);
            // A word is one of a thousand; what is no word is noise.
            let word = if is_word { (random >> 54).wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { random };
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.truncate(length);
        out
    }
}

/// Files of many sizes, most of them small, in directories of a hundred.
fn make_files(dir: &Path, shape: &Shape) {
    let mut text = Text(7);
    let mean = shape.bytes / shape.files;
    for number in 0..shape.files {
        let sub = dir.join(format!("usr/share/d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&sub).unwrap();
        }
        // One in sixteen takes half of the bytes.
        let size = if number % 16 == 0 { mean * 8 } else { mean * 8 / 15 };
        fs::write(sub.join(format!("f{number}")), text.fill(size as usize)).unwrap();
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn shell(command: &str, dir: &Path) {
    assert!(Command::new("sh").args(["-c", command]).current_dir(dir).status().unwrap().success());
}

/// The most memory that this process had since the last call, in MB.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak / 1000.0
}

fn captures(lab: &Lab, what: &str, shape: Shape) -> Snapshot {
    let upper = lab.dir("upper");
    make_files(&upper, &shape);
    // What is dirty would be written back while one of the two is measured.
    shell("sync", &upper);
    let size = shape.bytes as f64 / MB;
    let beside = seconds(|| shell("tar c . | zstd -q -3 -T2 -f -o ../beside.zst", &upper));
    peak_memory();
    let mut made = None;
    let took = seconds(|| made = Some(lab.timed_stage(&upper, None)));
    let (snapshot, ready) = made.unwrap();
    let peak = peak_memory();
    row(&format!("capture {what}, MB/s, `tar | zstd -3 -T2`"), &rate(size, took), &rate(size, beside));
    row("  as often as fast as that", &format!("{:.2}", beside / took), "");
    row("  until the next stage can start, MB/s", &rate(size, ready), "");
    row("  most memory, MB", &format!("{peak:.0}"), "");
    phases(lab, &snapshot, size);
    snapshot
}

/// The walk alone, over what is published already.
fn phases(lab: &Lab, snapshot: &Snapshot, size: f64) {
    let dir = LayerStore::new(&lab.store).unpacked_path(&snapshot.layers[0]);
    let trees = TreeStore::new(&lab.store);
    let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
    let took = seconds(|| drop(capture(&context, &dir, None).unwrap()));
    row("  of that the walk that finds the tree, MB/s", &rate(size, took), "");
}

fn rate(size: f64, took: f64) -> String {
    format!("{:.0}", size / took)
}

/// The best of two runs each, in turn. What was unpacked before is only moved away: ext4 is slow to make files for some
/// seconds after it has deleted as many.
fn restores(lab: &Lab, snapshot: &Snapshot) {
    let layers = LayerStore::new(&lab.store);
    let layer = layers.find(&snapshot.layers[0]).unwrap().unwrap();
    let blob = lab.store.blobs().path(&layer.blob);
    let command = format!("zstd -dcq {} | tar xp --numeric-owner", blob.display());
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for run in 0..2 {
        fs::rename(layers.unpacked_path(&layer.id), lab.root.path().join(format!("old{run}"))).unwrap();
        shell("sync", lab.root.path());
        peak_memory();
        ours = ours.min(seconds(|| drop(layers.unpacked(&layer.id).unwrap())));
        let beside = lab.dir(&format!("beside{run}"));
        shell("sync", &beside);
        theirs = theirs.min(seconds(|| shell(&command, &beside)));
    }
    let size = layer.raw_size as f64 / MB;
    row("restore 1.5 GB, MB/s, `zstd -d | tar x`", &rate(size, ours), &rate(size, theirs));
    row("  as often as fast as that", &format!("{:.2}", theirs / ours), "");
    row("  most memory, MB", &format!("{:.0}", peak_memory()), "");
}

/// A root file system of one program and many files, whose bytes nobody reads: they are holes.
fn make_root(dir: &Path, files: u64, bytes: u64) {
    for sub in ["bin", "etc", "proc", "sys", "dev", "run", "tmp", "usr/sbin"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    fs::copy(BUSYBOX, dir.join("bin/busybox")).unwrap();
    symlink("busybox", dir.join("bin/true")).unwrap();
    // Without one, every stage of the chain would leave the mark of a machine that is to choose its own.
    fs::write(dir.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
    for number in 0..files {
        let sub = dir.join(format!("usr/share/d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&sub).unwrap();
        }
        let mut file = fs::File::create(sub.join(format!("f{number}"))).unwrap();
        writeln!(file, "{number}").unwrap();
        file.set_len(bytes / files).unwrap();
    }
}

fn starts(lab: &Lab) {
    let small = {
        let upper = lab.dir("root");
        make_root(&upper, 40_000, 2_000_000_000);
        lab.stage(&upper, None)
    };
    let large = {
        let upper = lab.dir("root");
        make_root(&upper, 100_000, 5_000_000_000);
        lab.stage(&upper, None)
    };
    let mut deep = small.clone();
    let [first] = starts_and_captures(lab, [&small]);
    row("start + capture of no change: 2 GB, 40,000 files, ms", &millis(first), "1.00");
    let beside = |what: &str, snapshot: &Snapshot| {
        let [base, took] = starts_and_captures(lab, [&small, snapshot]);
        let ratio = took.as_secs_f64() / base.as_secs_f64();
        row(&format!("  {what}, ms"), &millis(took), &format!("{ratio:.2}"));
    };
    beside("5 GB, 100,000 files", &large);
    for length in [100, 300, 1000] {
        deepen(lab, &mut deep, length);
        beside(&format!("{length} layers"), &deep);
    }
}

fn millis(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64() * 1e3)
}

fn deepen(lab: &Lab, snapshot: &mut Snapshot, length: usize) {
    while snapshot.layers.len() < length {
        let number = snapshot.layers.len();
        let upper = lab.dir("step");
        fs::create_dir(upper.join("etc")).unwrap();
        fs::write(upper.join(format!("etc/step{number}")), format!("{number}")).unwrap();
        *snapshot = lab.stage(&upper, Some(snapshot));
    }
}

/// The medians of 41 times of a stage that runs `true`, everything included but the commit of its facts. What is compared
/// runs in turn, so that whatever else the machine does meets all alike.
fn starts_and_captures<const N: usize>(lab: &Lab, parents: [&Snapshot; N]) -> [Duration; N] {
    const RUNS: usize = 41;
    let mut times = [(); N].map(|()| Vec::with_capacity(RUNS));
    for _ in 0..RUNS {
        for (times, parent) in times.iter_mut().zip(parents) {
            times.push(one_start(lab, parent));
        }
    }
    times.map(|mut times| {
        times.sort();
        times[RUNS / 2]
    })
}

fn one_start(lab: &Lab, parent: &Snapshot) -> Duration {
    let start = Instant::now();
    let run = lab.store.run_dir().unwrap();
    let upper = run.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let lowers = LayerStore::new(&lab.store).lowers(&parent.layers).unwrap();
    let ended = lab.supervisor.run(&spec(lab, run.path(), lowers), None, |_| Ok(())).unwrap();
    assert_eq!(ended.end, End::SUCCESS);
    let trees = TreeStore::new(&lab.store);
    let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
    let captured = capture(&context, &upper, Some(parent.tree)).unwrap();
    let took = start.elapsed();
    assert_same(captured.tree, parent.tree);
    took
}

#[track_caller]
fn assert_same(left: TreeId, right: TreeId) {
    assert_eq!(left, right, "`true` changed something");
}

fn spec(lab: &Lab, run_dir: &Path, lowers: Vec<String>) -> Spec {
    let view = SandboxView {
        machine: VisibleMachine::canonical(),
        shown: Vec::new(),
        secrets: Vec::new(),
        inject: Vec::new(),
        epoch: 0,
        network: NetworkSpec::Isolated,
        env: BTreeMap::new(),
        payload: Payload::Exec { argv: vec!["/bin/true".to_owned()] },
    };
    let place = HostPaths {
        layers_dir: lab.store.layout().layers(),
        lowers,
        run_dir: run_dir.to_owned(),
        from: Vec::new(),
        sources: Vec::new(),
        authority: None,
    };
    let (timeout, limits) = (Some(Duration::from_secs(60)), Limits::default());
    Spec::new(&view, place, RunPolicy { timeout, limits, stdio: Stdio::Log })
}
