//! Pinned names of a small tree, with the versions of who makes them. Whoever changes one of them makes every layer in every cache
//! another one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use ibuild_cache::{Batch, MemoryIndex, Store, TreeId};

use super::capture::{CaptureContext, Captured, capture};
use super::flat::write_flat;
use super::tree::{LISTING_DOMAIN, ROOT_DOMAIN};
use super::unpack::make_whiteout;
use super::volatile::VolatileList;
use super::{Layer, LayerStore, Snapshot, TARBALL_WRITER, TreeStore, xattr};
use ibuild_golden::pin;

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test changes owners and needs root");
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        Self { root, store }
    }

    fn publish(&self, name: &str, parent: Option<TreeId>) -> (Captured, Layer) {
        let trees = TreeStore::new(&self.store);
        let context =
            CaptureContext { trees: &trees, epoch: 1_700_000_000, volatile: VolatileList::with(&[]) };
        let upper = self.root.path().join(name);
        let captured = capture(&context, &upper, parent).unwrap();
        let mut batch = Batch::default();
        let layer = LayerStore::new(&self.store).publish(&upper, &captured.changes, &mut batch).unwrap();
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        (captured, layer)
    }
}

/// Nothing here is left to the umask of who runs the test.
fn put(path: &Path, mode: u32, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn make_dir(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn make_base(dir: &Path) {
    make_dir(dir);
    make_dir(&dir.join("etc"));
    make_dir(&dir.join("old"));
    put(&dir.join("etc/empty"), 0o600, b"");
    put(&dir.join("etc/small"), 0o644, b"small\n");
    put(&dir.join("etc/large"), 0o644, &(0..1_000_000_u32).map(|n| (n / 7) as u8).collect::<Vec<_>>());
    put(&dir.join("etc/holes"), 0o644, &[&vec![0; 200 << 10][..], &vec![1; 100 << 10]].concat());
    put(&dir.join("old/gone"), 0o755, b"gone");
    put(&dir.join(format!("etc/{}", "n".repeat(200))), 0o644, b"long");
    fs::hard_link(dir.join("etc/small"), dir.join("old/other name")).unwrap();
    chown(dir.join("etc/empty"), Some(5_000_000), Some(42)).unwrap();
    xattr::set(&dir.join("etc/small"), b"user.note", b"a\nb").unwrap();
    symlink("small", dir.join("etc/link")).unwrap();
    make_time_of_link(&dir.join("etc/link"));
}

fn make_time_of_link(path: &Path) {
    let time = rustix::fs::Timespec { tv_sec: 86_400, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn make_change(dir: &Path) {
    make_dir(dir);
    make_dir(&dir.join("etc"));
    make_dir(&dir.join("old"));
    put(&dir.join("etc/small"), 0o644, b"other\n");
    put(&dir.join("etc/empty"), 0o600, b"");
    chown(dir.join("etc/empty"), Some(5_000_000), Some(42)).unwrap();
    make_whiteout(&dir.join("etc/large")).unwrap();
    xattr::set_opaque(&dir.join("old")).unwrap();
    put(&dir.join("old/new"), 0o755, b"new");
}

/// A store with two layers, the second of which changes what the first has.
fn two_layers() -> (Lab, [(Captured, Layer); 2]) {
    let lab = Lab::new();
    make_base(&lab.root.path().join("base"));
    make_change(&lab.root.path().join("change"));
    let base = lab.publish("base", None);
    let change = lab.publish("change", Some(base.0.tree));
    (lab, [base, change])
}

#[test]
fn names_of_trees() {
    let (_lab, layers) = two_layers();
    let trees = layers.map(|(captured, _)| captured.tree.hex()).concat();
    let domains = [ROOT_DOMAIN, LISTING_DOMAIN].join(", ");
    let pinned = (
        "ibuild tree v2, ibuild listing v2",
        "dc5a8ab6a073932671e8499a75db603331eeba4a5a2b86c895f525abea034e22",
    );
    pin("ROOT_DOMAIN or LISTING_DOMAIN in snapshot/tree.rs", domains, pinned, trees);
}

#[test]
fn names_of_layers() {
    let (_lab, layers) = two_layers();
    let tarballs =
        layers.map(|(_, Layer { id, raw_size, changes, .. })| format!("{id} {raw_size} {changes}\n"));
    pin(
        "TARBALL_WRITER in snapshot/tarball/mod.rs",
        TARBALL_WRITER,
        ("ibuild-tar 3", "27aa43c9d37c8fc285c588ad0b1680cb40f4648663b3192965e8e8a82835975b"),
        tarballs.concat(),
    );
}

#[test]
fn tarballs_of_everything() {
    let (lab, layers) = two_layers();
    let snapshot = Snapshot::of(layers[1].0.tree, layers.map(|(_, layer)| layer.id).to_vec());
    let (trees, store) = (TreeStore::new(&lab.store), LayerStore::new(&lab.store));
    let mut tar = Vec::new();
    write_flat(&trees, &store, &snapshot, &mut tar).unwrap();
    pin(
        "TARBALL_WRITER in snapshot/tarball/mod.rs",
        TARBALL_WRITER,
        ("ibuild-tar 3", "0c938879f84c3dce645b36af885e5bb50bfa43cd9cc6b42d533e8f20f9026898"),
        tar,
    );
}
