//! How long an ext4 of real files takes from nothing, beside reading those files and beside `mke2fs -d`, in the same run.
//!
//! ```text
//! cargo bench --bench filesystem
//! ```
//!
//! What is ours has all processors, `cat` and mke2fs have one each. Needs 6 GB below `/var/tmp`, and mke2fs. The files are 1.2 GB
//! of this machine's `/usr`, and in the page cache. The machine is shared, so only ratios mean something.
#![allow(clippy::print_stdout, reason = "a bench tells what it measured")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ibuild::cache::{Batch, RocksIndex, Store};
use ibuild::stages::disk::{DiskMap, DiskReader, DiskSpec, FilesystemOptions, filesystem, write_raw};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::files::{read_layers, read_tree};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};
use rayon::prelude::*;

const EPOCH: i64 = 1_700_000_000;
const BYTES: u64 = 1_200_000_000;
const DISK: u64 = 4 << 30;
/// Bytes that are read at once.
const AT_ONCE: usize = 1 << 20;

fn main() {
    let lab = Lab::new();
    let snapshot = lab.snapshot();
    let (files, size) = lab.files(&snapshot);
    println!("{files} files, {:.0} MB", size as f64 / 1e6);
    let reading =
        best_of(3, || shell("find . -type f -print0 | xargs -0 cat >/dev/null", &lab.layer(&snapshot)));
    let row = |what: &str, took: f64| {
        println!("{what:<52} {:>7.0} ms {:>6.2} times reading", took * 1e3, took / reading);
    };
    row("reading the files", reading);
    let first = seconds(|| drop(lab.map(&snapshot)));
    row("the file system described, of a layer that is new", first);
    row("described again", best_of(3, || drop(lab.map(&snapshot))));
    let map = lab.map(&snapshot);
    row("described, compared with its digests, and read", first + best_of(3, || read_all(&map)));
    let raw = lab.root.path().join("raw");
    row("described, and written as a sparse file", first + best_of(3, || write(&map, &raw)));
    row("mke2fs -d", best_of(3, || mke2fs(&lab.layer(&snapshot), &raw)));
}

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), RocksIndex::new).unwrap();
        Self { root, store }
    }

    /// A layer of real files, as a stage makes one.
    fn snapshot(&self) -> Snapshot {
        let upper = self.root.path().join("upper");
        fs::create_dir(&upper).unwrap();
        let choose = format!(
            "find usr/bin usr/lib usr/share -xdev -type f -size -64M -printf '%s %p\\n' | LC_ALL=C sort -k2 |
             awk 'left < {BYTES} {{ left += $1; sub(/^[0-9]* /, \"\"); print }}' |
             xargs -d '\\n' cp --parents --no-dereference -t {}",
            upper.display()
        );
        shell(&choose, Path::new("/"));
        let trees = TreeStore::new(&self.store);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let captured = capture(&context, &upper, None).unwrap();
        let layers = LayerStore::new(&self.store);
        let layer = layers.adopt(&upper, &captured.changes).unwrap();
        let mut batch = Batch::default();
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        Snapshot::of(captured.tree, vec![layer])
    }

    /// Where the files are.
    fn layer(&self, snapshot: &Snapshot) -> PathBuf {
        LayerStore::new(&self.store).unpacked(&snapshot.layers[0]).unwrap()
    }

    /// How many files there are, and their bytes.
    fn files(&self, snapshot: &Snapshot) -> (usize, u64) {
        let found = Command::new("find")
            .arg(self.layer(snapshot))
            .args(["-type", "f", "-printf", "%s\\n"])
            .output()
            .unwrap();
        let sizes = String::from_utf8(found.stdout).unwrap();
        (sizes.lines().count(), sizes.lines().map(|size| size.parse::<u64>().unwrap()).sum())
    }

    fn map(&self, snapshot: &Snapshot) -> DiskMap {
        let layers = read_layers(&LayerStore::new(&self.store), snapshot).unwrap();
        let tree = read_tree(&TreeStore::new(&self.store), snapshot).unwrap();
        let disk = DiskSpec::new("bench", DISK, EPOCH as u64);
        filesystem(layers, tree, &FilesystemOptions::of(&disk)).unwrap()
    }
}

/// What a packer does before it compresses: every file is compared with its digest, and every piece is read.
fn read_all(map: &DiskMap) {
    let contents = DiskReader::of(map);
    map.pieces.par_iter().for_each_init(Vec::new, |buffer, piece| {
        for skip in (0..piece.length()).step_by(AT_ONCE) {
            buffer.resize((piece.length() - skip).min(AT_ONCE as u64) as usize, 0);
            contents.read(piece, skip, buffer).unwrap();
        }
    });
}

fn write(map: &DiskMap, raw: &Path) {
    write_raw(map, raw, &|_, _| {}).unwrap();
    fs::remove_file(raw).unwrap();
}

fn mke2fs(files: &Path, raw: &Path) {
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).args([files, raw]).arg("4G").status();
    assert!(made.unwrap().success());
    fs::remove_file(raw).unwrap();
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn best_of(runs: usize, work: impl Fn()) -> f64 {
    (0..runs).map(|_| seconds(&work)).fold(f64::INFINITY, f64::min)
}

fn shell(command: &str, dir: &Path) {
    assert!(Command::new("sh").args(["-c", command]).current_dir(dir).status().unwrap().success());
}
