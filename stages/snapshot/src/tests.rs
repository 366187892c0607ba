//! Captures of hand-made upper directories. They need root, because they make devices and change owners.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ibuild_cache::{Batch, MemoryIndex, Store, TreeId};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::capture::{CaptureContext, Captured, capture};
use super::diff::{Difference, diff};
use super::flat::write_flat;
use super::unpack::{Dialect, make_whiteout, unpack};
use super::volatile::VolatileList;
use super::{Kind, LayerStore, Snapshot, SnapshotError, TreeStore, Trimmed, xattr};

mod deep;
mod generated;
mod hiding;
#[allow(clippy::single_range_in_vec_init, reason = "a file has one part, or several")]
mod holes;
mod hostile;
mod hot_cold;

const EPOCH: i64 = 1_700_000_000;

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes devices and needs root");
        // Not /tmp: it may be a file system without the attributes that overlays use.
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        Self { root, store }
    }

    fn upper(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn capture(&self, upper: &Path, parent: Option<TreeId>) -> Captured {
        let trees = TreeStore::new(&self.store);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let captured = capture(&context, upper, parent).unwrap();
        let mut batch = Batch::default();
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        captured
    }

    /// Captures, publishes, and returns the snapshot with this layer on top.
    fn stage(&self, upper: &Path, parent: Option<&Snapshot>) -> Snapshot {
        let captured = self.capture(upper, parent.map(|p| p.tree));
        let mut batch = Batch::default();
        let layer = LayerStore::new(&self.store).publish(upper, &captured.changes, &mut batch).unwrap();
        self.store.index().commit(batch).unwrap();
        Snapshot::upon(parent, captured.tree, Some(layer.id.into()))
    }

    /// The topmost layer, unpacked anew.
    fn cold(&self, snapshot: &Snapshot) -> PathBuf {
        let (layers, top) = (LayerStore::new(&self.store), snapshot.layers.last().unwrap());
        self.store.discard(&layers.unpacked_path(top)).unwrap();
        layers.unpacked(top).unwrap()
    }

    fn assert_same(&self, left: TreeId, right: TreeId) {
        let found = diff(&TreeStore::new(&self.store), left, right).unwrap();
        assert!(found.is_empty(), "{found:#?}");
    }

    fn flat(&self, snapshot: &Snapshot) -> Vec<u8> {
        let mut out = Vec::new();
        let trees = TreeStore::new(&self.store);
        write_flat(&trees, &LayerStore::new(&self.store), snapshot, &mut out).unwrap();
        out
    }
}

/// A file with everything that a tarball could lose.
fn make_everything(dir: &Path) {
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    fs::create_dir_all(dir.join("etc/deep/er")).unwrap();
    fs::set_permissions(dir.join("etc/deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    chown(dir.join("etc/deep"), Some(70_000), Some(3_000_000)).unwrap();
    write("etc/plain", b"text");
    write("etc/setuid", b"binary");
    chown(dir.join("etc/setuid"), Some(1000), Some(1001)).unwrap();
    fs::set_permissions(dir.join("etc/setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(dir.join("etc/plain"), dir.join("etc/deep/second name")).unwrap();
    symlink("/absolute/target", dir.join("etc/link")).unwrap();
    symlink("x".repeat(300), dir.join("etc/long link")).unwrap();
    lchown(dir.join("etc/link"), Some(5), Some(6)).unwrap();
    write(&format!("etc/{}", "n".repeat(250)), b"long name");
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"etc/not\xff\xfeutf8\nname")), b"bytes").unwrap();
    let node = |name: &str, kind, mode: u32, device| {
        mknodat(CWD, dir.join(name), kind, Mode::from(mode), device).unwrap();
    };
    node("etc/null", FileType::CharacterDevice, 0o666, makedev(1, 3));
    node("etc/disk", FileType::BlockDevice, 0o660, makedev(8, 1));
    node("etc/pipe", FileType::Fifo, 0o600, 0);
    let capability = [1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(&dir.join("etc/setuid"), b"security.capability", &capability).unwrap();
    xattr::set(&dir.join("etc/plain"), b"user.multi\xc3\xa9=line", b"a\nb\0c").unwrap();
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 5, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
        16, 0,
    ]
    .into_iter()
    .chain([6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255]);
    xattr::set(&dir.join("etc/deep"), b"system.posix_acl_default", &acl.collect::<Vec<u8>>()).unwrap();
    let sparse = fs::File::create(dir.join("etc/sparse")).unwrap();
    sparse.set_len(300 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 100 << 20).unwrap();
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(86_400, 5));
    fs::File::options().write(true).open(dir.join("etc/plain")).unwrap().set_times(old).unwrap();
}

#[test]
fn everything_survives_the_way_through_the_tarball() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    make_everything(&upper);
    let snapshot = lab.stage(&upper, None);
    let layers = LayerStore::new(&lab.store);
    let hot = layers.unpacked_path(&snapshot.layers[0]);
    lab.store.discard(&hot).unwrap();
    let cold = layers.unpacked(&snapshot.layers[0]).unwrap();
    assert_eq!(fs::metadata(cold.join("etc/plain")).unwrap().mtime(), 86_400);
    assert_eq!(
        fs::metadata(cold.join("etc/plain")).unwrap().ino(),
        fs::metadata(cold.join("etc/deep/second name")).unwrap().ino()
    );
    let blocks = fs::metadata(cold.join("etc/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "holes became {blocks} blocks");
    // What was unpacked captures to the same tree: nothing was lost, nothing added.
    lab.assert_same(lab.capture(&cold, None).tree, snapshot.tree);
}

#[test]
fn other_tools_read_what_we_write() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    make_everything(&upper);
    // GNU tar takes ACLs only from records of its own kind; everything else it restores.
    rustix::fs::lremovexattr(upper.join("etc/deep"), "system.posix_acl_default").unwrap();
    let snapshot = lab.stage(&upper, None);
    let tarball = lab.root.path().join("flat.tar");
    fs::write(&tarball, lab.flat(&snapshot)).unwrap();
    let out = lab.upper("gnu");
    let status = Command::new("tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-xpf"])
        .args([tarball.as_os_str(), "-C".as_ref(), out.as_os_str()])
        .status()
        .unwrap();
    assert!(status.success());
    lab.assert_same(lab.capture(&out, None).tree, snapshot.tree);
}

#[test]
fn we_read_what_gnu_tar_writes() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    make_everything(&upper);
    let tarball = lab.root.path().join("gnu.tar");
    let status = Command::new("tar")
        .args(["--format=posix", "--sparse", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-cf"])
        .args([tarball.as_os_str(), "-C".as_ref(), upper.as_os_str(), ".".as_ref()])
        .status()
        .unwrap();
    assert!(status.success());
    let out = lab.upper("out");
    unpack(fs::File::open(&tarball).unwrap(), &out, Dialect::Layer).unwrap();
    lab.assert_same(lab.capture(&out, None).tree, lab.capture(&upper, None).tree);
}

#[test]
fn a_layer_is_a_function_of_the_content() {
    let lab = Lab::new();
    let (a, b) = (lab.upper("a"), lab.upper("b"));
    for dir in [&a, &b] {
        for name in if dir == &a { ["x", "y", "z"] } else { ["z", "y", "x"] } {
            fs::write(dir.join(name), name).unwrap();
        }
    }
    assert_eq!(lab.stage(&a, None), lab.stage(&b, None));
}

/// Whoever made it: see `device.rs`.
#[test]
fn a_file_that_stands_for_a_device_becomes_one() {
    let lab = Lab::new();
    let (files, nodes) = (lab.upper("files"), lab.upper("nodes"));
    for (name, mark, kind, device) in [
        ("null", "c 1:3", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", "b 8:1", FileType::BlockDevice, makedev(8, 1)),
    ] {
        fs::write(files.join(name), "somebody wrote to it").unwrap();
        mknodat(CWD, nodes.join(name), kind, Mode::from(0o600), device).unwrap();
        for place in [files.join(name), nodes.join(name)] {
            chown(&place, Some(3), Some(70_000)).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o4640)).unwrap();
        }
        xattr::set(&files.join(name), b"user.ibuild.device", mark.as_bytes()).unwrap();
    }
    lab.capture(&files, None);
    let meta = fs::symlink_metadata(files.join("null")).unwrap();
    assert_eq!((meta.rdev(), meta.mode() & 0o7777, meta.gid()), (makedev(1, 3), 0o4640, 70_000));
    assert_eq!(lab.stage(&files, None), lab.stage(&nodes, None));
}

/// Root's overlays do not know it, so neither may a capture.
#[test]
fn another_kind_of_overlays_mark_is_only_an_attribute() {
    let lab = Lab::new();
    let (first, second) = (lab.upper("first"), lab.upper("second"));
    fs::create_dir(first.join("d")).unwrap();
    fs::write(first.join("d/stays"), "stays").unwrap();
    let base = lab.stage(&first, None);
    fs::create_dir(second.join("d")).unwrap();
    xattr::set(&second.join("d"), b"user.overlay.opaque", b"y").unwrap();
    let captured = lab.capture(&second, Some(base.tree));
    let trees = TreeStore::new(&lab.store);
    assert!(trees.find(captured.tree, b"d/stays").unwrap().is_some());
    let dir = trees.find(captured.tree, b"d").unwrap().unwrap();
    assert_eq!(dir.meta.xattrs[&b"user.overlay.opaque"[..]], b"y");
}

/// A regression: the directories on the way to a change were not in the tarball, so they came back as anybody's.
#[test]
fn directories_on_the_way_to_a_change_come_back_as_they_were() {
    let lab = Lab::new();
    let make = |name: &str| {
        let upper = lab.upper(name);
        fs::create_dir_all(upper.join("private/deep")).unwrap();
        fs::set_permissions(upper.join("private"), fs::Permissions::from_mode(0o2700)).unwrap();
        chown(upper.join("private"), Some(7), Some(8)).unwrap();
        fs::set_permissions(upper.join("private"), fs::Permissions::from_mode(0o2700)).unwrap();
        fs::write(upper.join("private/deep/file"), name).unwrap();
        upper
    };
    let base = lab.stage(&make("first"), None);
    let snapshot = lab.stage(&make("second"), Some(&base));
    let cold = lab.cold(&snapshot);
    let meta = fs::metadata(cold.join("private")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o2700, 7, 8, EPOCH));
    assert_eq!(fs::metadata(&cold).unwrap().mtime(), EPOCH);
}

#[test]
fn noise_is_scrubbed_and_sockets_are_reported() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::create_dir_all(upper.join("var/log/apt")).unwrap();
    fs::write(upper.join("var/log/apt/term.log"), "now").unwrap();
    fs::write(upper.join("var/log/dpkg.log"), "now").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(upper.join("var/socket")).unwrap();
    let captured = lab.capture(&upper, None);
    drop(socket);
    let names: Vec<_> =
        captured.changes.iter().map(|(p, _)| String::from_utf8_lossy(p).into_owned()).collect();
    assert_eq!(names, ["", "var", "var/log", "var/log/apt"]);
    assert_eq!(captured.dropped, [Path::new("var/socket")]);
}

#[test]
fn a_damaged_tarball_is_never_unpacked() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::write(upper.join("file"), vec![7; 100_000]).unwrap();
    let snapshot = lab.stage(&upper, None);
    let layers = LayerStore::new(&lab.store);
    let layer = layers.find(&snapshot.layers[0]).unwrap().unwrap();
    let blob = lab.store.blobs().path(&layer.blob);
    lab.store.discard(&layers.unpacked_path(&layer.id)).unwrap();
    let whole = fs::read(&blob).unwrap();
    for position in (0..whole.len()).step_by(whole.len() / 20 + 1) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        let _ = fs::remove_file(&blob);
        fs::write(&blob, &bytes).unwrap();
        let unpacked = layers.unpacked(&layer.id);
        assert!(matches!(unpacked, Err(SnapshotError::MissingLayer(_))), "byte {position}: {unpacked:?}");
        assert!(!layers.unpacked_path(&layer.id).exists());
        // Now that it is known, nothing that stands on it is a hit.
        assert_eq!(layers.find(&layer.id).unwrap(), None);
    }
}

/// The directory is what the next stage stands on while the tarball is written from it.
#[test]
fn a_layer_that_changes_before_it_is_packed_is_not_believed() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::write(upper.join("file"), "as captured").unwrap();
    let captured = lab.capture(&upper, None);
    let (layers, mut batch) = (LayerStore::new(&lab.store), Batch::default());
    let id = layers.adopt(&upper, &captured.changes).unwrap();
    let file = layers.unpacked_path(&id).join("file");
    fs::write(&file, "as changed ").unwrap();
    let packed = layers.pack(&id, &captured.changes, &mut batch);
    assert!(matches!(packed, Err(SnapshotError::ChangedLayer(layer)) if layer == id), "{packed:?}");
    assert!(!layers.is_unpacked(&id));
    assert_eq!(lab.store.blobs().list().unwrap(), []);
}

#[test]
fn a_tarball_that_is_there_is_not_written_again() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::write(upper.join("file"), "bytes").unwrap();
    let captured = lab.capture(&upper, None);
    let (layers, mut batch) = (LayerStore::new(&lab.store), Batch::default());
    let first = layers.publish(&upper, &captured.changes, &mut batch).unwrap();
    lab.store.index().commit(batch).unwrap();
    let (blob, mut batch) = (lab.store.blobs().path(&first.blob), Batch::default());
    let written = fs::metadata(&blob).unwrap().ino();
    assert_eq!(layers.pack(&first.id, &captured.changes, &mut batch).unwrap(), first);
    assert_eq!(fs::metadata(&blob).unwrap().ino(), written);
    assert!(!batch.is_empty(), "the fact belongs to this result as well");
}

#[test]
fn unpacked_layers_make_room_and_come_back() {
    let lab = Lab::new();
    let mut below: Option<Snapshot> = None;
    for name in ["low", "middle", "high"] {
        let upper = lab.upper(name);
        fs::write(upper.join(name), vec![7; 1_000_000]).unwrap();
        below = Some(lab.stage(&upper, below.as_ref()));
    }
    let (snapshot, layers) = (below.unwrap(), LayerStore::new(&lab.store));
    let [low, middle, high] = snapshot.layers[..] else { panic!("three layers: {snapshot:?}") };
    let is_unpacked = || [low, middle, high].map(|layer| layers.is_unpacked(&layer));
    assert_eq!(layers.trim_unpacked(4_000_000).unwrap(), Trimmed::default());
    // Two of them are used once more, in another second than the one before.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    layers.unpacked(&low).unwrap();
    layers.unpacked(&high).unwrap();
    assert_eq!(layers.trim_unpacked(2_900_000).unwrap().layers, 1);
    assert_eq!(is_unpacked(), [true, false, true]);
    assert!(layers.unpacked(&middle).unwrap().join("middle").exists());
}

/// A tarball with one member, as an attacker would write it.
fn hostile(path: &str, kind: tar::EntryType, target: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn nothing_is_extracted_outside_the_root() {
    let lab = Lab::new();
    let outside = lab.upper("outside");
    let escape = outside.to_str().unwrap();
    let file = |path: &str| hostile(path, tar::EntryType::Regular, "");
    let link = |path: &str, target: &str| hostile(path, tar::EntryType::Symlink, target);
    let cases = [
        [file("../outside/x"), vec![]],
        [link("a", escape), file("a/x")],
        [link("a", "../outside"), file("a/x")],
        [link("a", escape), hostile("b", tar::EntryType::Link, "a/x")],
        [link("a", escape), hostile("a", tar::EntryType::Directory, "")],
    ];
    for (number, members) in cases.iter().enumerate() {
        for dialect in [Dialect::Layer, Dialect::Package] {
            let root = lab.upper(&format!("root{number}{dialect:?}"));
            let before = fs::metadata(&outside).unwrap().mode();
            let _ = unpack(&members.concat()[..], &root, dialect);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "case {number}, {dialect:?}");
            assert_eq!(fs::metadata(&outside).unwrap().mode(), before);
        }
    }
}

#[test]
fn a_package_follows_links_within_the_root() {
    let lab = Lab::new();
    let root = lab.upper("root");
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    let members =
        [hostile("./lib/", tar::EntryType::Directory, ""), hostile("./lib/x", tar::EntryType::Regular, "")];
    unpack(&members.concat()[..], &root, Dialect::Package).unwrap();
    assert!(root.join("usr/lib/x").exists());
    assert!(root.join("lib").is_symlink());
}

#[test]
fn differences_name_the_paths() {
    let lab = Lab::new();
    let (a, b) = (lab.upper("a"), lab.upper("b"));
    for dir in [&a, &b] {
        fs::create_dir_all(dir.join("same/deep")).unwrap();
        fs::create_dir(dir.join("d")).unwrap();
    }
    fs::write(a.join("d/changed"), "1").unwrap();
    fs::write(b.join("d/changed"), "2").unwrap();
    fs::write(a.join("d/gone"), "").unwrap();
    fs::write(b.join("d/new"), "").unwrap();
    let (old, new) = (lab.capture(&a, None).tree, lab.capture(&b, None).tree);
    let trees = TreeStore::new(&lab.store);
    let found = diff(&trees, old, new).unwrap();
    let said: Vec<_> = found
        .iter()
        .map(|(path, difference)| {
            let sign = match difference {
                Difference::Added(_) => '+',
                Difference::Removed(_) => '-',
                Difference::Changed(..) => '~',
            };
            format!("{sign}{}", String::from_utf8_lossy(path))
        })
        .collect();
    assert_eq!(said, ["~d/changed", "-d/gone", "+d/new"]);
    assert!(matches!(trees.find(old, b"d/gone").unwrap().unwrap().kind, Kind::File { .. }));
}

/// A regression: unpacked anew, such a file hid another one.
#[test]
fn a_name_that_means_a_removal_cannot_be_kept() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/.wh.x"), "").unwrap();
    let trees = TreeStore::new(&lab.store);
    let context = |volatile: &[String]| CaptureContext {
        trees: &trees,
        epoch: EPOCH,
        volatile: VolatileList::with(volatile),
    };
    let refused = capture(&context(&[]), &upper, None);
    assert!(matches!(refused, Err(SnapshotError::ReservedName(path)) if path == Path::new("d/.wh.x")));
    capture(&context(&["/d/.wh.x".to_owned()]), &upper, None).unwrap();
}

/// A regression: a name that shared its file in a lower layer was made a name of the file that has the first one's place.
#[test]
fn in_a_flat_tarball_files_of_different_layers_stay_apart() {
    let lab = Lab::new();
    let linked = |name: &str, content: &str, names: [&str; 2]| {
        let upper = lab.upper(name);
        fs::write(upper.join(names[0]), content).unwrap();
        fs::hard_link(upper.join(names[0]), upper.join(names[1])).unwrap();
        upper
    };
    let base = lab.stage(&linked("first", "old", ["a", "b"]), None);
    let snapshot = lab.stage(&linked("second", "new", ["a", "c"]), Some(&base));
    let out = lab.upper("out");
    unpack(&lab.flat(&snapshot)[..], &out, Dialect::Layer).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!([read("a"), read("b"), read("c")], ["new", "old", "new"]);
    let inode = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("c"));
}
