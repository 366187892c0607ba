//! The file system is what the layers make, for `e2fsck`, for the kernel and beside `mke2fs -d`; and it stays where it is.

mod golden;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ibuild_cache::{Batch, Cancel, MemoryIndex, Store, TreeId};

use super::*;
use crate::map::DiskMap;
use crate::plan;
use ibuild_snapshot::capture::{CaptureContext, capture};
use ibuild_snapshot::files::{LayerChange, LayerFile, LayerKind, Listed, read_layers, read_tree};
use ibuild_snapshot::unpack::make_whiteout;
use ibuild_snapshot::volatile::VolatileList;
use ibuild_snapshot::{Entry, Kind, LayerStore, Metadata, Snapshot, TreeStore};
use ibuild_spec::MIB;

const EPOCH: i64 = 1_767_225_600;

/// `cap_net_raw=ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

mod swap;

/// A POSIX ACL: user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
const ACL: [u8; 44] = [
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 0xe8, 3, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255,
];

/// A store, and layers on the way into it.
struct Lab {
    root: tempfile::TempDir,
    store: Store,
    layers: Vec<ibuild_cache::LayerId>,
    tree: Option<TreeId>,
}

impl Lab {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests change owners and need root");
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        Self { root, store, layers: Vec::new(), tree: None }
    }

    /// Puts a layer on top, as an overlay's upper directory that `fill` fills.
    fn layer(&mut self, fill: impl FnOnce(&Path)) -> &mut Self {
        let upper = self.root.path().join(format!("upper{}", self.layers.len()));
        fs::create_dir(&upper).unwrap();
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
        fill(&upper);
        let trees = TreeStore::new(&self.store);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let captured = capture(&context, &upper, self.tree).unwrap();
        let mut batch = Batch::default();
        let layer = LayerStore::new(&self.store).publish(&upper, &captured.changes, &mut batch).unwrap();
        trees.flush(&mut batch);
        self.store.index().commit(batch).unwrap();
        self.layers.push(layer.id);
        self.tree = Some(captured.tree);
        self
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.tree.unwrap(), self.layers.clone())
    }

    fn tree(&self) -> Vec<(Vec<u8>, Entry)> {
        read_tree(&TreeStore::new(&self.store), &self.snapshot()).unwrap()
    }

    fn try_map(&self, size: u64) -> Result<DiskMap, DiskError> {
        let layers = read_layers(&LayerStore::new(&self.store), &self.snapshot()).unwrap();
        filesystem(layers, self.tree(), &options(size))
    }

    fn map(&self, size: u64) -> DiskMap {
        self.try_map(size).unwrap()
    }

    /// The file system as a file.
    fn image(&self, size: u64) -> PathBuf {
        let path = self.root.path().join("image");
        write_raw(&self.map(size), &path);
        path
    }

    /// Checks the image in every way there is.
    fn check(&self, size: u64) -> PathBuf {
        let image = self.image(size);
        fsck(&image);
        assert_mounted_equals(&image, &self.tree());
        image
    }
}

fn options(size: u64) -> FilesystemOptions {
    let spec = DiskSpec::new("lab", size, EPOCH as u64);
    FilesystemOptions { start: 0, size, ..FilesystemOptions::of(&DiskSpec { size: 128 * MIB, ..spec }) }
}

fn write_raw(map: &DiskMap, path: &Path) {
    crate::write_raw(map, path, &|_, _| {}).unwrap();
}

fn fsck(image: &Path) {
    let output = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(image).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Runs `act` where the image is mounted, in a mount namespace of a thread of its own.
fn mounted<T: Send>(image: &Path, how: &str, act: impl FnOnce(&Path) -> T + Send) -> T {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let inside = || {
        use nix::sched::{CloneFlags, unshare};
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
        run(Command::new("mount").args(["--make-rprivate", "/"]));
        run(Command::new("mount").args(["-o", how]).arg(image).arg(dir.path()));
        let made = act(dir.path());
        run(Command::new("umount").arg(dir.path()));
        made
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn assert_mounted_equals(image: &Path, tree: &[(Vec<u8>, Entry)]) {
    mounted(image, "loop,ro", |root| {
        let mut inodes = BTreeMap::new();
        for (path, entry) in tree {
            assert_same(&root.join(std::ffi::OsStr::from_bytes(path)), entry, &mut inodes);
        }
        let own = tree.iter().all(|(path, _)| path != b"lost+found");
        assert_eq!(count(root), tree.len() + usize::from(own));
    });
}

fn count(dir: &Path) -> usize {
    let below = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    1 + below.map(|e| if e.file_type().unwrap().is_dir() { count(&e.path()) } else { 1 }).sum::<usize>()
}

fn assert_same(path: &Path, entry: &Entry, links: &mut BTreeMap<Vec<u8>, u64>) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let at = path.display();
    assert_eq!((meta.uid(), meta.gid()), (entry.meta.uid, entry.meta.gid), "{at}");
    assert_eq!(meta.mtime(), entry.meta.mtime, "{at}");
    let kind = match &entry.kind {
        Kind::Directory(_) => libc::S_IFDIR,
        Kind::File { content, size, link } => {
            assert_eq!(meta.len(), *size, "{at}");
            let file = File::open(path).unwrap();
            let found = ibuild_snapshot::content_of(&file, &Cancel::default()).unwrap();
            assert_eq!(found, *content, "{at}");
            if let Some(first) = link {
                assert_eq!(*links.entry(first.clone()).or_insert(meta.ino()), meta.ino(), "{at}");
            }
            libc::S_IFREG
        }
        Kind::Symlink(target) => {
            assert_eq!(fs::read_link(path).unwrap().as_os_str().as_bytes(), target, "{at}");
            libc::S_IFLNK
        }
        Kind::Char(major, minor) => {
            assert_eq!(meta.rdev(), rustix::fs::makedev(*major, *minor), "{at}");
            libc::S_IFCHR
        }
        Kind::Block(major, minor) => {
            assert_eq!(meta.rdev(), rustix::fs::makedev(*major, *minor), "{at}");
            libc::S_IFBLK
        }
        Kind::Fifo => libc::S_IFIFO,
    };
    assert_eq!(meta.mode(), kind | entry.meta.mode, "{at}");
    if kind != libc::S_IFLNK {
        assert_eq!(
            ibuild_snapshot::read_xattrs(path, ibuild_snapshot::Side::Overlay).unwrap(),
            entry.meta.xattrs,
            "{at}"
        );
    }
}

fn at(dir: &Path, path: &str) -> PathBuf {
    let path = dir.join(path);
    make_dirs(path.parent().unwrap());
    path
}

fn make_dirs(dir: &Path) {
    if !dir.exists() {
        make_dirs(dir.parent().unwrap());
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn put(dir: &Path, path: &str, bytes: &[u8]) -> PathBuf {
    let path = at(dir, path);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    set_mtime(&path, EPOCH - 1000);
    path
}

fn set_mtime(path: &Path, time: i64) {
    let time = rustix::fs::Timespec { tv_sec: time, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that neither repeat nor compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn every_kind(dir: &Path) {
    put(dir, "etc/hosts", b"127.0.0.1 localhost\n");
    put(dir, "etc/empty", b"");
    put(dir, "usr/bin/large", &noise(1, 300_001));
    put(dir, "usr/bin/exact", &noise(2, 65_536));
    for n in 0..300 {
        put(
            dir,
            &format!("usr/share/{n}/file with a rather long name {n}"),
            &noise(n, (n * 97 % 9000) as usize),
        );
    }
    fs::hard_link(dir.join("etc/hosts"), at(dir, "usr/hosts")).unwrap();
    fs::hard_link(dir.join("etc/hosts"), at(dir, "a")).unwrap();
    let sparse = File::create(at(dir, "var/sparse")).unwrap();
    sparse.set_len(100 << 20).unwrap();
    for n in 0..40 {
        sparse.write_all_at(b"island", n * 2_000_000 + 4096 * 5).unwrap();
    }
    symlink("hosts", at(dir, "etc/short")).unwrap();
    symlink("x".repeat(59), at(dir, "etc/fits")).unwrap();
    symlink("y".repeat(60), at(dir, "etc/long")).unwrap();
    symlink("z/".repeat(1500), at(dir, "etc/longest")).unwrap();
    run(Command::new("mknod").arg(at(dir, "dev/null")).args(["c", "1", "3"]));
    run(Command::new("mknod").arg(at(dir, "dev/large")).args(["b", "259", "70000"]));
    run(Command::new("mknod").arg(at(dir, "dev/pipe")).arg("p"));
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"etc/not utf-8 \xff\xfe")), "x").unwrap();
    fs::write(dir.join("etc").join("n".repeat(255)), "longest name").unwrap();
    set_mtime(&put(dir, "etc/old", b"old"), -86_400 * 365 * 60);
    let owned = put(dir, "etc/owned", b"o");
    chown(&owned, Some(1_000_000), Some(70_000)).unwrap();
    fs::set_permissions(&owned, fs::Permissions::from_mode(0o6755)).unwrap();
    with_attributes(dir);
}

fn with_attributes(dir: &Path) {
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set(&put(dir, "usr/bin/ping", b"p"), "security.capability", &CAPABILITY);
    let shared = put(dir, "etc/shared", b"s");
    set(&shared, "system.posix_acl_access", &ACL);
    set(&shared, "user.note", &[b'n'; 300]);
    set(&shared, "user.b", b"");
    set(&shared, "user.a", b"abc");
    let dir = at(dir, "var/log/x").parent().unwrap().to_owned();
    set(&dir, "system.posix_acl_default", &ACL);
    set(&dir, "system.posix_acl_access", &ACL);
    set(&dir, "user.long", &[7; 2000]);
}

#[test]
fn every_kind_of_file_is_read_back() {
    let mut lab = Lab::new();
    lab.layer(every_kind);
    lab.check(256 * MIB);
}

#[test]
fn layers_replace_and_remove() {
    let mut lab = Lab::new();
    lab.layer(every_kind);
    lab.layer(|dir| {
        put(dir, "etc/hosts", b"other\n");
        put(dir, "usr/bin/large", &noise(9, 700_000));
        make_whiteout(&at(dir, "usr/bin/exact")).unwrap();
        make_whiteout(&at(dir, "var/sparse")).unwrap();
        make_whiteout(&at(dir, "usr/share/7")).unwrap();
        put(dir, "usr/share/8", b"a file instead of a directory");
        make_dirs(at(dir, "etc/short/x").parent().unwrap());
        put(dir, "etc/short/inside", b"a directory instead of a link");
        (0..200).for_each(|n| drop(put(dir, &format!("etc/conf.d/{n:0100}"), b"new")));
    });
    lab.layer(|dir| {
        (0..200).for_each(|n| drop(put(dir, &format!("etc/conf.d/more {n:0100}"), b"newer")));
        make_whiteout(&at(dir, "etc/conf.d/").join(format!("{:0100}", 5))).unwrap();
        put(dir, "lost+found/mine", b"kept");
    });
    lab.check(256 * MIB);
}

#[test]
fn a_directory_of_two_levels_is_read_by_the_kernel() {
    let mut lab = Lab::new();
    lab.layer(|dir| {
        let names = at(dir, "lot/x").parent().unwrap().to_owned();
        (0..7000).for_each(|n| symlink("t", names.join(format!("{n:0255}"))).unwrap());
        (0..500).for_each(|n| drop(put(dir, &format!("some/{n}"), b"")));
    });
    let image = lab.check(64 * MIB);
    let output = Command::new("/usr/sbin/debugfs").args(["-R", "htree lot"]).arg(&image).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Indirect levels: 1"), "{}", &said[..said.len().min(600)]);
}

/// So many pipes in one directory, as a layer and as a tree, without a file anywhere.
fn pipes(count: usize) -> (Listed<LayerChange>, Listed<Entry>) {
    let meta = Metadata { mode: 0o755, mtime: EPOCH, ..Metadata::default() };
    let mut paths = vec![Vec::new(), b"many".to_vec()];
    paths.extend((0..count).map(|n| format!("many/a name of some length, number {n:06}").into_bytes()));
    let is_directory = |path: &[u8]| path.is_empty() || path == b"many";
    let change = |path: &Vec<u8>| {
        let kind = if is_directory(path) { LayerKind::Directory } else { LayerKind::Fifo };
        (path.clone(), LayerChange::Set(LayerFile { meta: meta.clone(), kind }))
    };
    let entry = |path: &Vec<u8>| {
        let listing = TreeId::from_bytes([0; 32]);
        let kind = if is_directory(path) { Kind::Directory(listing) } else { Kind::Fifo };
        (path.clone(), Entry { meta: meta.clone(), kind })
    };
    (paths.iter().map(change).collect(), paths.iter().map(entry).collect())
}

#[test]
fn directories_as_deep_as_a_tree_may_have_them() {
    let mut lab = Lab::new();
    lab.layer(|dir| {
        let deepest = dir.join("d/".repeat(ibuild_snapshot::depth::MOST_LEVELS));
        fs::create_dir_all(&deepest).unwrap();
        fs::write(deepest.join("file"), "deep").unwrap();
    });
    lab.check(32 * MIB);
}

#[test]
fn a_hundred_thousand_names_in_one_directory() {
    let (layer, tree) = pipes(100_000);
    let image = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    write_raw(&filesystem(vec![layer], tree, &options(2048 * MIB)).unwrap(), image.path());
    fsck(image.path());
}

#[test]
fn real_it_can_be_written_and_grows() {
    let mut lab = Lab::new();
    lab.layer(every_kind);
    let image = lab.image(200 * MIB);
    let file = File::options().write(true).open(&image).unwrap();
    file.set_len(3000 * MIB).unwrap();
    mounted(&image, "loop", |root| {
        fs::write(root.join("etc/new"), noise(3, 5 << 20)).unwrap();
        fs::remove_file(root.join("usr/bin/large")).unwrap();
        (0..3000).for_each(|n| fs::write(root.join(format!("usr/grown {n}")), "x").unwrap());
        let device = Command::new("findmnt").args(["-no", "SOURCE"]).arg(root).output().unwrap();
        let device = String::from_utf8(device.stdout).unwrap();
        let grown = Command::new("resize2fs").arg(device.trim()).output().unwrap();
        // Without CAP_SYS_RESOURCE nobody grows a mounted file system.
        let denied = String::from_utf8_lossy(&grown.stderr).contains("Permission denied");
        if denied {
            eprintln!("SKIPPED: growing while mounted: this machine does not let us");
        } else {
            assert!(grown.status.success(), "{grown:?}");
            let stat = rustix::fs::statvfs(root).unwrap();
            assert!(stat.f_blocks * stat.f_frsize > 2800 * MIB);
        }
    });
    fsck(&image);
    run(Command::new("resize2fs").arg("-f").arg(&image).arg("5000M"));
    fsck(&image);
    mounted(&image, "loop,ro", |root| {
        let stat = rustix::fs::statvfs(root).unwrap();
        assert!(stat.f_blocks * stat.f_frsize > 4800 * MIB);
        assert_eq!(fs::read(root.join("etc/new")).unwrap(), noise(3, 5 << 20));
    });
}

#[test]
fn sizes_from_the_smallest_to_large_ones() {
    let mut lab = Lab::new();
    lab.layer(|dir| drop(put(dir, "etc/hosts", b"localhost")));
    for mib in [32, 127, 128, 130, 700, 2048, 2049, 9 << 10, 100 << 10] {
        let image = lab.image(mib * MIB);
        fsck(&image);
        let blocks = fs::metadata(&image).unwrap().blocks() * 512;
        assert!(blocks < 16 * MIB, "{mib} MiB take {blocks} bytes");
    }
}

#[test]
fn what_does_not_fit_by_layer_fits_at_once() {
    let mut lab = Lab::new();
    lab.layer(|dir| drop(put(dir, "data", &noise(1, 14 << 20))));
    for n in 0..3 {
        lab.layer(|dir| drop(put(dir, "data", &noise(n, 14 << 20))));
    }
    lab.check(48 * MIB);
    let error = lab.layer(|dir| drop(put(dir, "more", &noise(7, 40 << 20)))).try_map(48 * MIB).unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
    assert!(error.hint().unwrap().contains("disk.size"));
}

#[test]
fn more_files_than_usual_get_more_inodes() {
    let (layer, tree) = pipes(17_000);
    let image = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    write_raw(&filesystem(vec![layer], tree, &options(200 * MIB)).unwrap(), image.path());
    fsck(image.path());
}

#[test]
fn layers_that_do_not_make_the_tree_are_refused() {
    let (layer, mut tree) = pipes(3);
    let check = |layer: &Listed<LayerChange>, tree: &Listed<Entry>, needle: &str| {
        let error =
            filesystem(vec![layer.clone()], tree.clone(), &options(64 * MIB)).unwrap_err().to_string();
        assert!(error.contains(needle) && error.contains("disagree"), "{error}");
    };
    check(&layer, &tree[..4].to_vec(), "`/`");
    check(&layer[..4].to_vec(), &tree, "number 000002");
    tree[3].1.meta.uid = 1;
    check(&layer, &tree, "number 000001");
}

#[test]
fn the_reference_makes_the_same_tree() {
    let mut lab = Lab::new();
    lab.layer(every_kind);
    lab.layer(|dir| {
        put(dir, "etc/hosts", b"other\n");
        make_whiteout(&at(dir, "usr/share/7")).unwrap();
    });
    let (tar, disk) = (lab.root.path().join("flat.tar"), lab.root.path().join("reference"));
    let (trees, layers) = (TreeStore::new(&lab.store), LayerStore::new(&lab.store));
    ibuild_snapshot::flat::write_flat(&trees, &layers, &lab.snapshot(), File::create(&tar).unwrap()).unwrap();
    File::create(&disk).unwrap().set_len(200 * MIB).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let spec = DiskSpec::new("lab", 300 * MIB, EPOCH as u64);
    let job = FilesystemJob {
        root_tar: &tar,
        disk: &disk,
        range: 0..200 * MIB,
        spec: &spec,
        scratch: scratch.path(),
    };
    Mke2fs::new(MkfsTool::find().unwrap()).write(&job).unwrap();
    assert_mounted_equals(&disk, &lab.tree());
    assert_mounted_equals(&lab.image(200 * MIB), &lab.tree());
}

#[test]
fn other_names_of_a_replaced_file_keep_its_bytes() {
    let mut lab = Lab::new();
    lab.layer(|dir| {
        put(dir, "a", b"old");
        ["b", "c"].iter().for_each(|name| fs::hard_link(dir.join("a"), dir.join(name)).unwrap());
    });
    lab.layer(|dir| {
        put(dir, "a", b"new");
        fs::hard_link(dir.join("a"), dir.join("d")).unwrap();
    });
    let check = |root: &Path| {
        let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
        let bytes = ["a", "b", "c", "d"].map(|name| fs::read(root.join(name)).unwrap());
        assert_eq!(bytes, [b"new", b"old", b"old", b"new"]);
        assert!(inode("a") == inode("d") && inode("b") == inode("c") && inode("a") != inode("b"));
    };
    let image = lab.image(32 * MIB);
    fsck(&image);
    mounted(&image, "loop,ro", check);
    let (tar, files) = (lab.root.path().join("flat.tar"), lab.root.path().join("files"));
    let (trees, layers) = (TreeStore::new(&lab.store), LayerStore::new(&lab.store));
    ibuild_snapshot::flat::write_flat(&trees, &layers, &lab.snapshot(), File::create(&tar).unwrap()).unwrap();
    fs::create_dir(&files).unwrap();
    run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&files));
    check(&files);
}

#[test]
fn a_restored_layer_is_placed_like_a_captured_one() {
    let mut lab = Lab::new();
    lab.layer(every_kind);
    lab.layer(|dir| drop(put(dir, "etc/hosts", b"other\n")));
    let before = lab.map(200 * MIB);
    let store = LayerStore::new(&lab.store);
    lab.layers.iter().for_each(|layer| fs::remove_dir_all(store.unpacked_path(layer)).unwrap());
    let after = lab.map(200 * MIB);
    assert!(before.pieces == after.pieces);
    assert_eq!(before.files, after.files);
}

#[test]
fn a_file_that_changed_since_is_not_written() {
    let mut lab = Lab::new();
    lab.layer(|dir| {
        put(dir, "etc/hosts", b"localhost");
        put(dir, "etc/large", &noise(1, 200_000));
    });
    let map = lab.map(32 * MIB);
    let write = |map: &DiskMap| {
        let written = crate::write_raw(map, &lab.root.path().join("x"), &|_, _| {});
        written.map_err(|error| error.to_string())
    };
    fs::write(&map.files[0].place, b"localhosT").unwrap();
    assert!(write(&map).unwrap_err().contains("disagree"));
    fs::write(&map.files[0].place, b"localhost").unwrap();
    // What looks like a hole now would never be read, if the layer were looked at again.
    fs::write(&map.files[1].place, vec![0; 200_000]).unwrap();
    assert!(write(&lab.map(32 * MIB)).unwrap_err().contains("disagree"));
}

/// The grains of the second disk that the first one does not have.
fn new_grains(before: &DiskMap, after: &DiskMap) -> usize {
    let known: BTreeSet<_> = plan(before).iter().map(|grain| grain.key).collect();
    plan(after).iter().filter(|grain| !known.contains(&grain.key)).count()
}

/// A root file system of 1,000 files in 100 directories, a layer of 7 MB above, and then what `last` brings.
fn three_layers(last: impl FnOnce(&Path)) -> DiskMap {
    let mut lab = Lab::new();
    lab.layer(|dir| {
        let mut random = fastrand::Rng::with_seed(1);
        for n in 0..1000 {
            let length = random.usize(..20_000);
            put(dir, &format!("usr/share/{}/file {n}", n % 100), &noise(n, length));
        }
    });
    lab.layer(|dir| (0..15).for_each(|n| drop(put(dir, &format!("usr/lib/lib{n}.so"), &noise(n, 500_000)))));
    lab.layer(last);
    lab.map(1024 * MIB)
}

/// What a stage of its own brings: a few files here and there.
fn settings(dir: &Path, changed: &[u8]) {
    (0..30).for_each(|n| drop(put(dir, &format!("etc/{}/settings {n}", n % 7), &noise(n, 3000))));
    put(dir, "etc/3/changed", changed);
    put(dir, "usr/share/5/file 5", b"another one");
}

#[test]
fn a_changed_file_costs_few_grains() {
    let before = three_layers(|dir| settings(dir, b"one"));
    for changed in [b"two".to_vec(), noise(5, 9000)] {
        let after = three_layers(|dir| settings(dir, &changed));
        let new = new_grains(&before, &after);
        assert!((1..=8).contains(&new), "{new} grains for {} bytes", changed.len());
    }
}

#[test]
fn a_package_costs_little_more_than_its_files() {
    let before = three_layers(|dir| settings(dir, b"one"));
    let mut bytes = 0;
    let after = three_layers(|dir| {
        settings(dir, b"one");
        for (n, length) in [1_500_000, 2_000_000, 700_000, 300_000].into_iter().enumerate() {
            bytes += length;
            put(dir, &format!("usr/lib/new{n}.so"), &noise(900 + n as u64, length));
        }
        for n in 0..60_usize {
            let length = n * 337 % 17_000;
            bytes += length;
            put(dir, &format!("usr/share/{}/new {n}", n % 20), &noise(n as u64, length));
        }
    });
    let new = new_grains(&before, &after) as u64;
    assert!(new * 65536 <= bytes as u64 * 13 / 10, "{new} grains for {bytes} bytes");
}

/// One more random layer.
fn grow(lab: &mut Lab, random: &mut fastrand::Rng) {
    let names: Vec<Vec<u8>> =
        lab.tree.map_or(Vec::new(), |_| lab.tree().into_iter().map(|(p, _)| p).collect());
    lab.layer(|dir| {
        for _ in 0..random.usize(1..40) {
            let depth = random.usize(1..4);
            let parts: Vec<String> = (0..depth).map(|_| format!("d{}", random.u8(..6))).collect();
            let name = format!("{}/f{}", parts.join("/"), random.u8(..30));
            if at(dir, &name).exists() {
                continue;
            }
            let length =
                if random.u8(..8) == 0 { random.usize(60_000..400_000) } else { random.usize(..9000) };
            match random.u8(..6) {
                0 => symlink("t".repeat(random.usize(1..200)), at(dir, &name)).unwrap(),
                _ => drop(put(dir, &name, &noise(random.u64(..), length))),
            }
        }
        for name in names.iter().filter(|name| name.contains(&b'f')) {
            let path = String::from_utf8_lossy(name).into_owned();
            if random.u8(..9) == 0 && !dir.join(&path).exists() {
                make_whiteout(&at(dir, &path)).unwrap();
            }
        }
    });
}

/// What random layers make is read back, and what the first of them placed stays where it is.
fn random_layers(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lab = Lab::new();
    for _ in 0..random.usize(2..6) {
        grow(&mut lab, &mut random);
    }
    let before = lab.map(200 * MIB);
    grow(&mut lab, &mut random);
    lab.check(200 * MIB);
    let after = lab.map(200 * MIB);
    let places = |map: &DiskMap| -> BTreeMap<Arc<Path>, Vec<u64>> {
        let mut places = BTreeMap::<Arc<Path>, Vec<u64>>::new();
        for piece in &map.pieces {
            if let crate::Origin::File { file, .. } = piece.origin {
                places.entry(map.files[file].place.clone()).or_default().push(piece.at);
            }
        }
        places
    };
    let (before, after) = (places(&before), places(&after));
    let moved = after.iter().filter(|(file, at)| before.get(*file).is_some_and(|was| was != *at)).count();
    assert_eq!(moved, 0, "seed {seed}");
}

#[test]
fn random_layers_are_read_back_and_stay() {
    let rounds = if nightly() { 200 } else { 4 };
    (0..rounds).for_each(random_layers);
}

#[expect(clippy::disallowed_methods, reason = "tests are told by tests/run how long they may take")]
fn nightly() -> bool {
    std::env::var_os("IBUILD_NIGHTLY").is_some()
}
