//! Pinned names of a small tree. Whoever changes one of them makes every layer in every cache another one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use ibuild_cache::{Batch, MemoryIndex, Store, TreeId};

use super::capture::{CaptureContext, Captured, capture};
use super::unpack::make_whiteout;
use super::volatile::VolatileList;
use super::{Layer, LayerStore, TreeStore, xattr};

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

#[test]
fn names_of_layers_and_trees() {
    let lab = Lab::new();
    make_base(&lab.root.path().join("base"));
    make_change(&lab.root.path().join("change"));
    let (base, low) = lab.publish("base", None);
    let (change, high) = lab.publish("change", Some(base.tree));
    let names = [base.tree.hex(), low.id.hex(), change.tree.hex(), high.id.hex()];
    let pinned = [
        "517dd9b7710e157d197959ccfea03d6eab5b18ae359a10d4bcba82a3da8e06ca",
        "3323e8dfa82f20746470bc0802a104be07afd19fea381811e36178c2f69497b8",
        "0cdf7fc5356400fc5792d4e39e03118b409666aa715bbe28bfdaa9f13a1d8b73",
        "7b72169e7943fa93e2c91eaeade03729666df7bbfa592c2de1dea6f1e51b4ade",
    ];
    assert_eq!(names, pinned);
    assert_eq!((low.raw_size, low.changes, high.raw_size, high.changes), (1_124_864, 11, 6_144, 8));
}
