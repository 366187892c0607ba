//! A layer that a stage left and the same layer unpacked from its tarball: whatever a stage does, the next one sees no
//! difference. The stages run over real overlays, and what there is afterwards is asked of the kernel, not of this
//! program's own idea of what counts. Needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use ibuild_cache::{Batch, MemoryIndex, Store};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{
    CWD, FileType, IFlags, Mode, XattrFlags, ioctl_getflags, ioctl_setflags, lgetxattr, llistxattr,
    lsetxattr, makedev, mknodat,
};

use crate::capture::{CaptureContext, capture};
use crate::flat::write_flat;
use crate::unpack::{Dialect, unpack};
use crate::volatile::VolatileList;
use crate::{LayerStore, Snapshot, SnapshotError, TreeStore};
use ibuild_host::overlay::OVERLAY_OPTIONS;

const EPOCH: i64 = 1_700_000_000;

/// What a file system notes of a file for itself: extents, index, data in the inode, attributes in others.
const OWN_NOTES: u32 = 0x80000 | 0x1000 | 0x1000_0000 | 0x20_0000 | 0x4_0000;

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    /// In a thread that has its mounts to itself.
    fn new() -> Self {
        Self::in_a_place(|_| ())
    }

    /// The same below a directory that was made to look in some way.
    fn in_a_place(make: impl FnOnce(&Path)) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts overlays and needs root");
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        make(root.path());
        fs::create_dir(root.path().join("root")).unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        Self { root, store }
    }

    /// What `work` makes of a snapshot, through an overlay as a sandbox has it.
    fn stage(
        &self,
        parent: Option<&Snapshot>,
        work: impl FnOnce(&Path),
    ) -> Result<Option<Snapshot>, SnapshotError> {
        let run = self.store.run_dir().unwrap();
        let dir = |name: &str| {
            let dir = run.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
            dir
        };
        let (upper, work_dir, root) = (dir("upper"), dir("work"), self.root.path().join("root"));
        let layers = LayerStore::new(&self.store);
        let mut lowers: Vec<PathBuf> = parent
            .map_or(&[][..], |parent| &parent.layers[..])
            .iter()
            .rev()
            .map(|layer| layers.unpacked_path(layer))
            .collect();
        lowers.push(dir("empty"));
        let lowers: Vec<_> = lowers.iter().map(|lower| lower.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},volatile,{OVERLAY_OPTIONS}",
            lowers.join(":"),
            upper.display(),
            work_dir.display()
        );
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
        work(&root);
        // Another test may be starting a program just now, which has all files open for a moment.
        umount2(&root, MntFlags::MNT_DETACH).unwrap();
        let trees = TreeStore::new(&self.store);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let captured = capture(&context, &upper, parent.map(|parent| parent.tree))?;
        let mut batch = Batch::default();
        trees.flush(&mut batch);
        let own = (!captured.changes.is_empty())
            .then(|| layers.publish(&upper, &captured.changes, &mut batch).unwrap().id);
        self.store.index().commit(batch).unwrap();
        Ok(own.map(|own| Snapshot::upon(parent, captured.tree, Some(own.into()))))
    }

    /// The names that shared a file in the stage share one wherever its outcome goes: in the layers as overlays show them,
    /// and in a tarball.
    #[track_caller]
    fn assert_shared(&self, snapshot: &Snapshot, seen: Shared) {
        let mut shown = Shared::new();
        self.stage(Some(snapshot), |root| shown = shared(root)).unwrap();
        assert_eq!(shown, seen, "through the next overlay");
        let (mut tarball, trees) = (Vec::new(), TreeStore::new(&self.store));
        write_flat(&trees, &LayerStore::new(&self.store), snapshot, &mut tarball).unwrap();
        let out = tempfile::tempdir_in(self.root.path()).unwrap();
        unpack(&tarball[..], out.path(), Dialect::Layer).unwrap();
        assert_eq!(shared(out.path()), seen, "in a tarball");
    }

    #[track_caller]
    fn assert_hot_is_cold(&self, snapshot: &Snapshot) {
        let (layers, top) = (LayerStore::new(&self.store), snapshot.layers.last().unwrap());
        let place = layers.unpacked_path(top);
        let hot = exactly(&place);
        self.store.discard(&place).unwrap();
        let cold = exactly(&layers.unpacked(top).unwrap());
        let differ: Vec<_> = hot
            .keys()
            .chain(cold.keys())
            .filter(|path| hot.get(*path) != cold.get(*path))
            .map(|path| (path, hot.get(path), cold.get(path)))
            .collect();
        assert!(differ.is_empty(), "{differ:#?}");
    }
}

/// Names that share an inode, of regular files.
type Shared = BTreeSet<BTreeSet<PathBuf>>;

fn shared(dir: &Path) -> Shared {
    let mut inodes = BTreeMap::<u64, BTreeSet<PathBuf>>::new();
    for path in below(dir) {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_file() && lgetxattr(&path, "user.ibuild.device", &mut [0_u8; 64][..]).is_err() {
            inodes.entry(meta.ino()).or_default().insert(path.strip_prefix(dir).unwrap().to_owned());
        }
    }
    inodes.into_values().filter(|names| names.len() > 1).collect()
}

fn in_a_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = std::thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

/// All that the kernel tells of what is below a directory, but for inode numbers and times that nobody can set.
fn exactly(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let kind = meta.file_type();
        let is_removal = std::os::unix::fs::FileTypeExt::is_char_device(&kind) && meta.rdev() == 0;
        let said = if is_removal { "removal".to_owned() } else { describe(&path, &meta) };
        found.insert(path.strip_prefix(dir).unwrap().to_owned(), said);
    }
    found
}

fn describe(path: &Path, meta: &fs::Metadata) -> String {
    let flags = (meta.is_file() || meta.is_dir())
        .then(|| ioctl_getflags(File::open(path).unwrap()).unwrap().bits() & !OWN_NOTES);
    let content = meta.is_file().then(|| blake3::hash(&fs::read(path).unwrap()).to_hex());
    let target = meta.is_symlink().then(|| fs::read_link(path).unwrap());
    let (owner, times) = ((meta.uid(), meta.gid()), (meta.mtime(), meta.mtime_nsec()));
    // ext4 takes a block more for a directory in more than four extents, which depends on what else is written just then.
    let blocks = (meta.is_file() || meta.len() <= 4 * meta.blksize()).then(|| meta.blocks());
    let (mode, links, device, size) = (meta.mode(), meta.nlink(), meta.rdev(), (meta.len(), blocks));
    let listed = meta.is_dir().then(|| listed(path));
    format!(
        "{mode:o} {owner:?} {links} {device} {size:?} {times:?} {flags:?} {content:?} {target:?} {listed:?} {:?}",
        attributes(path)
    )
}

/// The names of a directory in the order in which the kernel tells them.
fn listed(dir: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// In the order in which the kernel lists them.
fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name| {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), value(name))).collect()
}

#[test]
fn the_next_stage_cannot_tell_a_hot_layer_from_a_cold_one() {
    in_a_thread(|| {
        for seed in 0..6 {
            eprintln!("seed {seed}");
            let (lab, mut rng) = (Lab::new(), Rng::with_seed(seed));
            let mut snapshot: Option<Snapshot> = None;
            for _ in 0..4 {
                let mut seen = Shared::new();
                let made = lab.stage(snapshot.as_ref(), |root| {
                    (0..40).for_each(|_| act(root, &mut rng));
                    seen = shared(root);
                });
                if let Some(made) = made.unwrap() {
                    lab.assert_hot_is_cold(&made);
                    lab.assert_shared(&made, seen);
                    snapshot = Some(made);
                }
            }
        }
    });
}

/// One thing that a program may do. What the kernel refuses did not happen.
fn act(root: &Path, rng: &mut Rng) {
    let there = below(root);
    let old = rng.choice(&there).unwrap().clone();
    let is = fs::symlink_metadata(&old).unwrap();
    let dir = if is.is_dir() { old.clone() } else { old.parent().unwrap().to_owned() };
    let new = dir.join(OsStr::from_bytes(&[b'a' + rng.u8(..6)]));
    let node = |kind, device| mknodat(CWD, &new, kind, Mode::from(0o640), device).map_err(io::Error::from);
    let _ = match rng.u8(..16) {
        0 => fs::create_dir(&new),
        1 | 2 => File::create_new(&new).and_then(|mut file| file.write_all(&[rng.u8(..); 3000])),
        3 => symlink("a", &new),
        4 => node(FileType::CharacterDevice, makedev(1, rng.u32(1..9))),
        5 => node(FileType::Fifo, 0),
        6 => fs::hard_link(&old, &new),
        7 => fs::rename(&old, &new),
        8 if old != root => fs::remove_file(&old).or_else(|_| fs::remove_dir_all(&old)),
        9 => lchown(&old, Some(rng.u32(..3)), Some(rng.u32(..3))),
        10 if !is.is_symlink() => fs::set_permissions(&old, fs::Permissions::from_mode(rng.u32(..0o10_000))),
        11 if is.is_file() => File::options().append(true).open(&old).and_then(|mut f| f.write_all(b"more")),
        12 if is.is_file() || is.is_dir() => flag(&old, rng),
        _ => attribute(&old, rng),
    };
}

/// All paths, the root among them.
fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while at < found.len() {
        if !found[at].is_symlink() && found[at].is_dir() {
            let mut inside: Vec<_> =
                fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap().path()).collect();
            inside.sort();
            found.extend(inside);
        }
        at += 1;
    }
    found
}

/// A flag that does nothing.
fn flag(path: &Path, rng: &mut Rng) -> io::Result<()> {
    let flag = *rng.choice(&[IFlags::SECURE_REMOVAL, IFlags::UNRM, IFlags::COMPRESSED]).unwrap();
    let file = File::open(path)?;
    Ok(ioctl_setflags(&file, ioctl_getflags(&file)?.union(flag))?)
}

/// Attributes of all namespaces, names and values that mean something to an overlay or to this program among them.
fn attribute(path: &Path, rng: &mut Rng) -> io::Result<()> {
    let names = [
        "trusted.own",
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.overlay.opaque",
        "security.own",
        "security.capability",
        "user.own=x",
        "user.overlay.opaque",
        "user.ibuild.device",
        "user.ibuild.other",
    ];
    let name = *rng.choice(&names).unwrap();
    let capability = [1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let values: &[&[u8]] = match name {
        "security.capability" => &[&capability],
        "user.ibuild.device" => &[b"c 0:0", b"c 4096:0", b"c 1:3", b"b 8:1", b"b 0:0", b"nonsense"],
        _ => &[b"y", b"x", b"/a", b""],
    };
    let value = *rng.choice(values).unwrap();
    Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// A default ACL, a group that is passed on, and flags that are inherited.
#[test]
fn nothing_of_where_the_store_is_gets_into_a_tree() {
    in_a_thread(|| {
        let acl = [
            2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255,
            255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
        ];
        let odd = Lab::in_a_place(|dir| {
            chown(dir, None, Some(1234)).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o2777)).unwrap();
            lsetxattr(dir, "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
            let dir = File::open(dir).unwrap();
            ioctl_setflags(&dir, ioctl_getflags(&dir).unwrap().union(IFlags::NOATIME)).unwrap();
        });
        let work = |root: &Path| {
            fs::create_dir_all(root.join("usr/lib")).unwrap();
            fs::write(root.join("usr/file"), "new").unwrap();
        };
        let again = |root: &Path| {
            fs::remove_dir_all(root.join("usr")).unwrap();
            fs::create_dir(root.join("usr")).unwrap();
            fs::write(root.join("usr/other"), "new").unwrap();
        };
        let mut outcomes = Vec::new();
        for lab in [odd, Lab::new()] {
            let first = lab.stage(None, work).unwrap().unwrap();
            let root = TreeStore::new(&lab.store).root(first.tree).unwrap().meta;
            assert_eq!((root.uid, root.gid, root.mode, root.xattrs.len()), (0, 0, 0o755, 0));
            lab.assert_hot_is_cold(&first);
            let second = lab.stage(Some(&first), again).unwrap().unwrap();
            lab.assert_hot_is_cold(&second);
            let tree = crate::files::read_tree(&TreeStore::new(&lab.store), &second).unwrap();
            assert!(tree.iter().all(|(_, entry)| entry.meta.gid == 0 && entry.meta.xattrs.is_empty()));
            outcomes.push(tree.into_iter().map(|(path, entry)| (path, entry.meta.mode)).collect::<Vec<_>>());
        }
        assert_eq!(outcomes[0], outcomes[1]);
    });
}

/// Three ways to link what an earlier stage made.
#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn links_to_files_of_lower_layers_are_kept_by_all() {
    in_a_thread(|| {
        let lab = Lab::new();
        let run = |parent: Option<&Snapshot>, work: fn(&Path)| {
            let mut seen = Shared::new();
            let made = lab.stage(parent, |root| {
                work(root);
                seen = shared(root);
            });
            let made = made.unwrap().unwrap();
            lab.assert_hot_is_cold(&made);
            lab.assert_shared(&made, seen);
            made
        };
        let base = run(None, |root| {
            fs::create_dir(root.join("d")).unwrap();
            fs::write(root.join("a"), "a").unwrap();
            fs::write(root.join("l"), "l").unwrap();
            fs::hard_link(root.join("a"), root.join("b")).unwrap();
            fs::hard_link(root.join("l"), root.join("d/f")).unwrap();
            let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
            for name in ["a", "l"] {
                File::options().write(true).open(root.join(name)).unwrap().set_times(old).unwrap();
            }
        });
        run(Some(&base), |root| fs::hard_link(root.join("a"), root.join("c")).unwrap());
        let without = run(Some(&base), |root| {
            fs::remove_file(root.join("b")).unwrap();
            fs::remove_dir_all(root.join("d")).unwrap();
        });
        run(Some(&without), |root| {
            fs::create_dir(root.join("d")).unwrap();
            fs::hard_link(root.join("l"), root.join("d/f")).unwrap();
            fs::hard_link(root.join("a"), root.join("b")).unwrap();
        });
        // One of the names is another file meanwhile, in a directory with nothing else to keep.
        let other = run(Some(&base), |root| {
            fs::remove_file(root.join("l")).unwrap();
            fs::write(root.join("l"), "other").unwrap();
        });
        run(Some(&other), |root| {
            fs::remove_file(root.join("l")).unwrap();
            fs::hard_link(root.join("d/f"), root.join("l")).unwrap();
        });
    });
}

/// Names that came and went, in a directory that is longer than a block of a file system, and one that a file system lists in
/// the order of creation; attributes in another order than that of their names.
fn leave_traces(root: &Path) {
    let dir = root.join("was-large");
    fs::create_dir(&dir).unwrap();
    let name = |number| dir.join(format!("a-rather-long-name-of-a-file-{number}"));
    (0..600).for_each(|number| fs::write(name(number * 7919 % 600), "").unwrap());
    (0..599).for_each(|number| fs::remove_file(name(number)).unwrap());
    fs::create_dir_all(root.join("large/below")).unwrap();
    for number in (0..400).rev() {
        fs::write(root.join(format!("large/below/another-long-name-of-a-file-{number}")), "").unwrap();
    }
    for name in ["user.z", "user.m", "user.a", "user.q"] {
        lsetxattr(root.join("large"), name, b"value", XattrFlags::empty()).unwrap();
        lsetxattr(root.join("large/below"), name, b"value", XattrFlags::empty()).unwrap();
        lsetxattr(
            root.join("was-large").join("a-rather-long-name-of-a-file-599"),
            name,
            b"v",
            XattrFlags::empty(),
        )
        .unwrap();
    }
}

/// A regression: an attribute that was set where an overlay had a mark of its own, blocks beyond the end of a file, and a small
/// file without any.
#[test]
fn blocks_are_those_of_a_layer_that_was_unpacked() {
    in_a_thread(|| {
        let lab = Lab::new();
        let base = lab.stage(None, |root| {
            fs::write(root.join("copied-up"), "below").unwrap();
            fs::create_dir(root.join("dir")).unwrap();
        });
        let made = lab.stage(base.unwrap().as_ref(), |root| {
            for name in ["copied-up", "dir"] {
                lsetxattr(root.join(name), "user.one", b"value", XattrFlags::empty()).unwrap();
            }
            for (name, size) in [("empty", 0), ("small", 100), ("large", 100_000)] {
                let file = File::create(root.join(name)).unwrap();
                file.set_len(size).unwrap();
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
            }
            File::create(root.join("hole")).unwrap().set_len(4096).unwrap();
            fs::write(root.join("data"), vec![0; 4096]).unwrap();
        });
        lab.assert_hot_is_cold(&made.unwrap().unwrap());
    });
}

/// A regression: what a stage made and removed showed in the size of its directory until the layer was unpacked anew.
#[test]
fn what_came_and_went_leaves_no_trace() {
    in_a_thread(|| {
        let lab = Lab::new();
        let made = lab.stage(None, leave_traces).unwrap().unwrap();
        lab.assert_hot_is_cold(&made);
        let more = |root: &Path| {
            fs::remove_dir_all(root.join("large")).unwrap();
            leave_traces(&root.join("was-large"));
        };
        lab.assert_hot_is_cold(&lab.stage(Some(&made), more).unwrap().unwrap());
    });
}

/// The same on a file system that lists names in the order in which they came.
#[test]
fn what_came_and_went_leaves_no_trace_in_memory() {
    in_a_thread(|| {
        let lab = Lab::in_a_place(|dir| {
            let none: Option<&str> = None;
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        });
        let made = lab.stage(None, leave_traces).unwrap().unwrap();
        lab.assert_hot_is_cold(&made);
        umount2(lab.root.path(), MntFlags::MNT_DETACH).unwrap();
    });
}

#[test]
fn a_flag_that_would_be_lost_fails_the_stage() {
    in_a_thread(|| {
        let lab = Lab::new();
        let base = lab.stage(None, |root| fs::write(root.join("lower"), "lower").unwrap()).unwrap();
        let flags = [
            (IFlags::IMMUTABLE, "`i` (immutable)"),
            (IFlags::APPEND, "`a` (append only)"),
            (IFlags::SYNC, "`S` (synchronous updates)"),
            (IFlags::NOATIME, "`A` (no times of access)"),
            (IFlags::NODUMP, "`d` (no dumps)"),
        ];
        for (flag, said) in flags {
            for name in ["lower", "new", "dir", ""] {
                let refused = lab.stage(base.as_ref(), |root| {
                    fs::write(root.join("new"), "new").unwrap();
                    fs::create_dir(root.join("dir")).unwrap();
                    let file = File::open(root.join(name)).unwrap();
                    ioctl_setflags(&file, ioctl_getflags(&file).unwrap().union(flag)).unwrap();
                });
                let refused = refused.expect_err(name).to_string();
                assert_eq!(refused, format!("cannot keep the flag {said} of `/{name}`"));
            }
        }
        // Whoever takes it away again loses nothing.
        let made = lab.stage(base.as_ref(), |root| {
            let file = File::open(root.join("lower")).unwrap();
            let flags = ioctl_getflags(&file).unwrap();
            ioctl_setflags(&file, flags.union(IFlags::IMMUTABLE)).unwrap();
            ioctl_setflags(&file, flags).unwrap();
        });
        assert!(made.is_ok());
    });
}

/// What an overlay would take for the removal of a file, and what only looks like a device, is a file that says so.
#[test]
fn a_file_that_stands_for_no_device_stays_a_file() {
    in_a_thread(|| {
        let lab = Lab::new();
        let mark = |root: &Path, name: &str, value: &[u8]| {
            fs::write(root.join(name), "file").unwrap();
            lsetxattr(root.join(name), "user.ibuild.device", value, XattrFlags::empty()).unwrap();
            lsetxattr(root.join(name), "user.other", value, XattrFlags::empty()).unwrap();
        };
        let base = lab.stage(None, |root| {
            mark(root, "removal", b"c 0:0");
            mark(root, "cut", b"c 4096:0");
            mark(root, "null", b"c 1:3");
            chown(root.join("null"), Some(7), None).unwrap();
        });
        let base = base.unwrap().unwrap();
        lab.assert_hot_is_cold(&base);
        let trees = TreeStore::new(&lab.store);
        for name in ["removal", "cut"] {
            let entry = trees.find(base.tree, name.as_bytes()).unwrap().unwrap();
            assert!(matches!(entry.kind, super::Kind::File { .. }) && entry.meta.xattrs.len() == 2);
        }
        let null = trees.find(base.tree, b"null").unwrap().unwrap();
        assert_eq!((null.kind, null.meta.uid, null.meta.xattrs.len()), (super::Kind::Char(1, 3), 7, 0));
        lab.stage(Some(&base), |root| {
            assert_eq!(fs::read(root.join("removal")).unwrap(), b"file");
            assert_eq!(fs::metadata(root.join("null")).unwrap().rdev(), makedev(1, 3));
        })
        .unwrap();
    });
}
