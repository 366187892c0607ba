//! Trees by chance: what is captured, published and unpacked again is the same, and layers one upon the other are what
//! an overlay of them is. They need root. `IBUILD_NIGHTLY=1` makes many.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use fastrand::Rng;
use ibuild_cache::{Batch, Cancel, MemoryIndex, Store};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, fallocate, makedev, mknodat,
    utimensat,
};

use crate::allocated::parts;
use crate::capture::{CaptureContext, capture};
use crate::flat::write_flat;
use crate::settle::settle;
use crate::unpack::{Dialect, make_whiteout, unpack};
use crate::volatile::VolatileList;
use crate::{LayerStore, Snapshot, TreeStore, xattr};

const EPOCH: i64 = 1_700_000_000;

/// What a reader that knows nothing of layers sees of a file: all of it but its inode and the names it shares that with.
type Look = BTreeMap<Vec<u8>, String>;

/// Names that share an inode.
type Shared = BTreeSet<Vec<Vec<u8>>>;

#[test]
fn what_is_captured_comes_back_the_same() {
    assert!(rustix::process::geteuid().is_root(), "this test makes devices and needs root");
    let mut same = 0;
    for seed in 0..seeds() {
        eprintln!("seed {seed}");
        same += check(&mut Rng::with_seed(seed));
    }
    assert!(same as u64 > seeds(), "hardly any tree could be made anew");
}

#[allow(clippy::disallowed_methods, reason = "the nightly run of the tests says so in the environment")]
fn seeds() -> u64 {
    if std::env::var_os("IBUILD_NIGHTLY").is_some() { 500 } else { 12 }
}

/// Three layers, each of which edits what those below it have. Says how many were made anew as they were.
fn check(rng: &mut Rng) -> usize {
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
    let (mut snapshot, mut expected, mut same) = (None, Look::new(), 0);
    for number in 0..3 {
        let upper = root.path().join(format!("upper{number}"));
        make_dir(&upper);
        fill(&upper, &expected, b"", rng, 3);
        expected = overlaid(expected, &upper);
        let stage = publish(&store, &upper, snapshot.as_ref());
        assert_comes_back(&store, &stage);
        let work = root.path().join(format!("anew{number}"));
        same += usize::from(only_trees_count(&store, &stage, snapshot.as_ref(), &work));
        snapshot = Some(stage);
    }
    let (snapshot, expected) = (snapshot.unwrap(), clamped(expected));
    let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
    let tarball = root.path().join("flat.tar");
    let file = fs::File::create(&tarball).unwrap();
    write_flat(&TreeStore::new(&store), &LayerStore::new(&store), &snapshot, file).unwrap();
    make_dir(&ours);
    unpack(fs::File::open(&tarball).unwrap(), &ours, Dialect::Layer).unwrap();
    assert_same(&look(&ours).0, &expected);
    make_dir(&theirs);
    extract_with_gnu_tar(&tarball, &theirs);
    assert_same(&look(&theirs).0, &expected);
    same
}

fn captured(
    store: &Store,
    upper: &Path,
    parent: Option<&Snapshot>,
) -> (ibuild_cache::TreeId, Vec<(Vec<u8>, crate::change::Change)>) {
    let trees = TreeStore::new(store);
    let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
    let captured = capture(&context, upper, parent.map(|parent| parent.tree)).unwrap();
    let mut batch = Batch::default();
    trees.flush(&mut batch);
    store.index().commit(batch).unwrap();
    (captured.tree, captured.changes)
}

fn publish(store: &Store, upper: &Path, parent: Option<&Snapshot>) -> Snapshot {
    let (tree, changes) = captured(store, upper, parent);
    let mut batch = Batch::default();
    let own = (!changes.is_empty())
        .then(|| LayerStore::new(store).publish(upper, &changes, &mut batch).unwrap().id);
    store.index().commit(batch).unwrap();
    Snapshot::upon(parent, tree, own.map(Into::into))
}

/// The topmost layer, unpacked from its tarball, is the directory that was captured.
#[track_caller]
fn assert_comes_back(store: &Store, snapshot: &Snapshot) {
    let (layers, top) = (LayerStore::new(store), snapshot.layers.last().unwrap());
    let place = layers.unpacked_path(top);
    let (hot, shared) = look(&place);
    store.discard(&place).unwrap();
    let (cold, still_shared) = look(&layers.unpacked(top).unwrap());
    assert_same(&hot, &cold);
    assert_eq!(shared, still_shared, "other files share an inode");
}

/// Who removes everything and makes it again has the layer of the one who edits. Says whether the tree is the same, which
/// it is not where a file had a name in a lower layer that it lost.
#[track_caller]
fn only_trees_count(store: &Store, snapshot: &Snapshot, parent: Option<&Snapshot>, work: &Path) -> bool {
    let mut tarball = Vec::new();
    write_flat(&TreeStore::new(store), &LayerStore::new(store), snapshot, &mut tarball).unwrap();
    make_dir(work);
    unpack(&tarball[..], work, Dialect::Layer).unwrap();
    xattr::set_opaque(work).unwrap();
    let anew = publish(store, work, parent);
    let is_same = anew.tree == snapshot.tree;
    assert_eq!(is_same, anew == *snapshot);
    is_same
}

#[track_caller]
fn assert_same(left: &Look, right: &Look) {
    let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differ = |name: &&&Vec<u8>| left.get(**name) != right.get(**name);
    let show =
        |name: &&Vec<u8>| (String::from_utf8_lossy(name).into_owned(), left.get(*name), right.get(*name));
    let found: Vec<_> = names.iter().filter(differ).map(show).collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn extract_with_gnu_tar(tarball: &Path, to: &Path) {
    let status = Command::new("tar")
        .args(["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "-xpf"])
        .args([tarball.as_os_str(), "-C".as_ref(), to.as_os_str()])
        .status()
        .unwrap();
    assert!(status.success());
}

// What there is.

fn look(dir: &Path) -> (Look, Shared) {
    let (mut found, mut inodes) = (Look::new(), BTreeMap::<u64, Vec<Vec<u8>>>::new());
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let disk = dir.join(OsStr::from_bytes(&path));
        let meta = fs::symlink_metadata(&disk).unwrap();
        if meta.is_dir() {
            open.extend(names(&disk).into_iter().map(|name| join(&path, &name)));
        } else if meta.nlink() > 1 && meta.rdev() != 0 || meta.is_file() {
            inodes.entry(meta.ino()).or_default().push(path.clone());
        }
        found.insert(path, describe(&disk, &meta));
    }
    let shared = inodes.into_values().filter(|names| names.len() > 1).map(|mut names| {
        names.sort();
        names
    });
    (found, shared.collect())
}

fn describe(disk: &Path, meta: &fs::Metadata) -> String {
    if is_whiteout(meta) {
        return "whiteout".to_owned();
    }
    let content = match meta.file_type() {
        kind if kind.is_file() => {
            let (bytes, file) = (fs::read(disk).unwrap(), fs::File::open(disk).unwrap());
            // The space ends a word.
            let parts = format!("{:?}", parts(&file, meta.len()).unwrap()).replace(' ', "");
            format!("{}{parts}", blake3::hash(&bytes).to_hex())
        }
        kind if kind.is_symlink() => format!("{:?}", fs::read_link(disk).unwrap()),
        kind if kind.is_dir() => format!("opaque {}", xattr::is_opaque(disk)),
        _ => format!("{:x}", meta.rdev()),
    };
    let xattrs =
        if meta.is_symlink() { BTreeMap::new() } else { xattr::read(disk, xattr::Side::Layer).unwrap() };
    let (acls, xattrs): (BTreeMap<_, _>, BTreeMap<_, _>) =
        xattrs.into_iter().partition(|(name, _)| name.starts_with(b"system.posix_acl_"));
    let (mode, uid, gid, time) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
    format!("{mode:o} {uid} {gid} {time} {content} {xattrs:?} acl {acls:?}")
}

/// Nobody can see its owner or its time.
fn is_whiteout(meta: &fs::Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn names(dir: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, name].join(&b'/') }
}

// What an overlay makes of it, as the kernel's documentation says.

fn overlaid(mut below: Look, upper: &Path) -> Look {
    for (path, said) in look(upper).0 {
        let meta = fs::symlink_metadata(upper.join(OsStr::from_bytes(&path))).unwrap();
        let is_merged = meta.is_dir() && said.contains(" opaque false ");
        if !is_merged {
            let inside = if path.is_empty() { Vec::new() } else { [path.as_slice(), b"/"].concat() };
            below.retain(|name, _| *name != path && !name.starts_with(&inside));
        }
        if !is_whiteout(&meta) {
            below.retain(|name, there| !is_above(name, &path) || there.contains(" opaque "));
            below.insert(path, said.replace(" opaque true ", " opaque false "));
        }
    }
    below
}

fn is_above(above: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Times as a capture leaves them.
fn clamped(tree: Look) -> Look {
    let clamp = |(path, said): (Vec<u8>, String)| {
        let mut words: Vec<_> = said.splitn(5, ' ').map(str::to_owned).collect();
        let time: i64 = words[3].parse().unwrap();
        let is_dir = said.contains(" opaque ");
        words[3] = if is_dir { EPOCH } else { time.min(EPOCH) }.to_string();
        (path, words.join(" "))
    };
    tree.into_iter().map(clamp).collect()
}

// What is made up.

fn make_dir(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Fills a directory with files, and with edits of what is there already.
fn fill(upper: &Path, below: &Look, dir: &[u8], rng: &mut Rng, depth: usize) {
    let inside = children(below, dir);
    for name in &inside {
        if rng.u8(..3) == 0 {
            edit(upper, below, &join(dir, name), rng, depth);
        }
    }
    for _ in 0..rng.usize(0..7) {
        let path = join(dir, &name(rng));
        let disk = upper.join(OsStr::from_bytes(&path));
        if fs::symlink_metadata(&disk).is_err() && !below.contains_key(&path) {
            make(upper, below, &path, rng, depth);
        }
    }
}

fn children(tree: &Look, dir: &[u8]) -> Vec<Vec<u8>> {
    let rest = |path: &Vec<u8>| {
        let rest =
            if dir.is_empty() { Some(path.as_slice()) } else { path.strip_prefix(&[dir, b"/"].concat()[..]) };
        rest.filter(|rest| !rest.is_empty() && !rest.contains(&b'/')).map(<[u8]>::to_vec)
    };
    tree.keys().filter_map(rest).collect()
}

/// Removes, replaces or changes what the layers below have at `path`.
fn edit(upper: &Path, below: &Look, path: &[u8], rng: &mut Rng, depth: usize) {
    let disk = upper.join(OsStr::from_bytes(path));
    let was_dir = below[path].contains(" opaque ");
    match rng.u8(..3) {
        0 => make_whiteout(&disk).unwrap(),
        1 if was_dir && depth > 0 => {
            make_dir(&disk);
            fill(upper, below, path, rng, depth - 1);
            dress(&disk, rng);
        }
        _ => {
            make(upper, &Look::new(), path, rng, depth);
            // A directory that comes into the place of something hides that.
            if disk.is_dir() && !disk.is_symlink() {
                xattr::set_opaque(&disk).unwrap();
            }
        }
    }
}

/// Makes something new.
fn make(upper: &Path, below: &Look, path: &[u8], rng: &mut Rng, depth: usize) {
    let disk = upper.join(OsStr::from_bytes(path));
    let node = |kind, device| mknodat(CWD, &disk, kind, Mode::from(0o600), device).unwrap();
    match rng.u8(..12) {
        0..=2 if depth > 0 => {
            make_dir(&disk);
            fill(upper, below, path, rng, depth - 1);
        }
        3 => symlink(OsStr::from_bytes(&name(rng).repeat(rng.usize(1..6))), &disk).unwrap(),
        4 => node(FileType::CharacterDevice, makedev(rng.u32(1..4000), rng.u32(1..70_000))),
        5 => node(FileType::BlockDevice, makedev(rng.u32(1..4000), rng.u32(..70_000))),
        6 => node(FileType::Fifo, 0),
        7 => sparse(&disk, rng),
        8 if link(upper, &disk, rng) => return,
        _ => fs::write(&disk, bytes(rng)).unwrap(),
    }
    dress(&disk, rng);
}

/// Another name for a file of the layer, if it has one.
fn link(upper: &Path, disk: &Path, rng: &mut Rng) -> bool {
    let files: Vec<_> = look(upper).0.into_keys().map(|path| upper.join(OsStr::from_bytes(&path))).collect();
    let files: Vec<_> = files.into_iter().filter(|path| !path.is_symlink() && path.is_file()).collect();
    rng.choice(&files).is_some_and(|file| fs::hard_link(file, disk).is_ok())
}

fn sparse(disk: &Path, rng: &mut Rng) {
    let file = fs::File::create(disk).unwrap();
    file.set_len(rng.u64(..600_000)).unwrap();
    for _ in 0..rng.u8(..3) {
        file.write_all_at(&bytes(rng), rng.u64(..500_000)).unwrap();
    }
    if rng.bool() {
        // What has blocks and was never written is data once it is captured: only then it is looked at.
        fallocate(&file, FallocateFlags::empty(), rng.u64(..500_000), rng.u64(1..100_000)).unwrap();
        settle(disk, &fs::File::open(disk).unwrap(), &Cancel::default()).unwrap();
    }
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    let length = *rng.choice(&[0, 1, 511, 512, 5000, 70_000]).unwrap();
    let byte = rng.u8(..4);
    (0..length).map(|at| if byte == 0 { 0 } else { (at / 7) as u8 ^ byte }).collect()
}

/// A name that is odd in some way, out of so few that layers meet.
fn name(rng: &mut Rng) -> Vec<u8> {
    let odd: [&[u8]; 12] = [
        b"a",
        b"b",
        b"c",
        b"-r",
        b" ",
        b"new\nline",
        b"\xff\xfe",
        b"...",
        b".wh",
        b"wh..wh.",
        b"'\"\\",
        b"\xc3\xa9=%",
    ];
    match rng.u8(..8) {
        0 => vec![b'n'; rng.usize(90..256)],
        1 => vec![rng.u8(48..58); rng.usize(1..3)],
        _ => rng.choice(odd).unwrap().to_vec(),
    }
}

/// Owner, mode, attributes and times, in the order in which they do not undo each other.
fn dress(disk: &Path, rng: &mut Rng) {
    let owner = |rng: &mut Rng| *rng.choice(&[0, 1, 1000, 70_000, 3_000_000]).unwrap();
    lchown(disk, Some(owner(rng)), Some(owner(rng))).unwrap();
    let (is_link, is_file, is_dir) = (disk.is_symlink(), disk.is_file(), disk.is_dir());
    if !is_link {
        fs::set_permissions(disk, fs::Permissions::from_mode(rng.u32(..0o10_000))).unwrap();
        let length = rng.usize(..40);
        if (is_file || is_dir) && rng.bool() {
            xattr::set(disk, b"user.x=\xc3\xa9", &vec![rng.u8(..); length]).unwrap();
        }
        if is_dir && rng.u8(..4) == 0 {
            xattr::set(disk, b"system.posix_acl_default", &acl(rng)).unwrap();
        }
        if is_file && rng.u8(..4) == 0 {
            xattr::set(disk, b"system.posix_acl_access", &acl(rng)).unwrap();
        }
        if is_file && rng.u8(..4) == 0 {
            let capability = [1, 0, 0, 2, rng.u8(..), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            xattr::set(disk, b"security.capability", &capability).unwrap();
        }
    }
    let tv_sec = rng.choice([0, 1, -86_400, EPOCH - 1, EPOCH, EPOCH + 1_000_000]).unwrap();
    let time = Timespec { tv_sec, tv_nsec: rng.i64(0..1_000_000_000) };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, disk, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Entries of version 2: owner, a user by number, group, mask, others.
fn acl(rng: &mut Rng) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [(1, NOBODY), (2, rng.u32(1..2000)), (4, NOBODY), (16, NOBODY), (32, NOBODY)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, who) in entries {
        acl.extend(u16::to_le_bytes(tag));
        acl.extend(u16::to_le_bytes(rng.u16(..8)));
        acl.extend(who.to_le_bytes());
    }
    acl
}
