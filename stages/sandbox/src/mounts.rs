//! The file systems of a sandbox. All of them are in init's own mount namespace and end with it.
//!
//! `/sys` stays empty: it would show the hardware of the host, from which systemd even derives a machine id.

mod proc;
mod secrets;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;
use rustix::fs::{FileType, Mode, OFlags};

use super::cgroup::DeviceFilter;
use super::spec::{OUTPUT_DIR, SHOWN_DIR, Spec};
use ibuild_host::overlay::OVERLAY_OPTIONS;
use ibuild_host::userns;
use ibuild_spec::RUN_DIR;

/// Whether a bind can be written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

pub(super) use self::proc::cover_proc;
pub(super) use self::secrets::SecretBytes;

/// What failed, in words, with the kernel's reason.
pub(super) type SetupResult<T = ()> = Result<T, String>;

/// Adds words to an error.
pub(super) fn failed<E: std::fmt::Display>(act: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("cannot {act}: {error}")
}

/// The devices that every program may expect, with their numbers.
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Mounts everything below the overlay and makes it the root.
pub(super) fn enter(spec: &Spec, secrets: &[SecretBytes], devices: DeviceFilter) -> SetupResult {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(failed("make mounts private"))?;
    let root = overlay(spec, devices)?;
    memory(&root, "run", "mode=0755")?;
    memory(&root, "tmp", "mode=1777")?;
    for (dir, mode) in [("run/lock", 0o1777), ("run/ibuild", 0o755)] {
        let dir = root.join(dir);
        make_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).map_err(failed("set a mode"))?;
    }
    memory(&root, "sys", "mode=0555,size=0")?;
    device_nodes(&root)?;
    proc::mount_proc(&root, spec)?;
    shown(spec, &root)?;
    outputs(spec, &root)?;
    secrets::mount_secrets(secrets, &ibuild_dir(&root), spec.epoch)?;
    other_root(spec, &root)?;
    pivot(&root)
}

fn make_dir(dir: &Path) -> SetupResult {
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(format!("create `{}`", dir.display()))(e))
        }
        _ => Ok(()),
    }
}

/// A directory of the tree to mount something on. A link there would lead out of the tree, as long as the host's root is
/// that of this process.
fn mount_point(root: &Path, name: &str) -> SetupResult<PathBuf> {
    let target = root.join(name);
    make_dir(&target)?;
    match fs::symlink_metadata(&target) {
        Ok(meta) if meta.is_dir() => Ok(target),
        _ => Err(format!("`/{name}` of the image is not a directory")),
    }
}

/// A directory under a name that tells nothing of where it is: programs can read the names that an overlay was mounted
/// with.
struct Nameless(OwnedFd);

impl Nameless {
    fn open(dir: &Path) -> SetupResult<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty());
        fd.map(Self).map_err(failed(format!("open `{}`", dir.display())))
    }
}

impl std::fmt::Display for Nameless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

/// Links to layers by their numbers, uppermost first. What an overlay is mounted with can be read in `/proc/mounts`, and a layer's own
/// name tells what is in it. The links are in memory: a chain may have hundreds, and each would cost an inode of a disk for the time
/// of a mount.
struct LayerNames {
    /// The file system that they are in.
    dir: PathBuf,
    numbers: Vec<String>,
}

impl LayerNames {
    fn link(spec: &Spec, dir: &str, lowers: &[String]) -> SetupResult<Self> {
        let dir = spec.place.run_dir.join(dir);
        make_dir(&dir)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), flags, Some("mode=0700,nr_inodes=0"))
            .map_err(failed("mount memory for the names of layers"))?;
        let link = |(number, lower): (usize, &String)| {
            let (number, layer) = (number.to_string(), spec.place.layers_dir.join(lower));
            symlink(&layer, dir.join(&number)).map_err(failed(format!("link `{}`", layer.display())))?;
            Ok(number)
        };
        let numbers = lowers.iter().enumerate().map(link).collect::<SetupResult<_>>()?;
        Ok(Self { dir, numbers })
    }

    /// Once an overlay is mounted it needs no names.
    fn unmount(self) -> SetupResult {
        umount2(&self.dir, MntFlags::MNT_DETACH).map_err(failed("unmount the names of layers"))
    }
}

/// Mounts the overlay: from a directory in which the names of layers are short and tell nothing.
fn overlay(spec: &Spec, devices: DeviceFilter) -> SetupResult<PathBuf> {
    let dir = |name: &str| {
        let dir = spec.place.run_dir.join(name);
        make_dir(&dir).map(|()| dir)
    };
    let root = dir("root")?;
    let (work, empty) = (Nameless::open(&dir("work")?)?, Nameless::open(&dir("empty")?)?);
    let upper = Nameless::open(&spec.place.run_dir.join("upper"))?;
    let names = LayerNames::link(spec, "lower", &spec.place.lowers)?;
    let lowers = match names.numbers.is_empty() {
        true => empty.to_string(),
        false => names.numbers.join(":"),
    };
    let options = format!("lowerdir={lowers},upperdir={upper},workdir={work},volatile,{OVERLAY_OPTIONS}");
    let flags = match devices {
        DeviceFilter::On => MsFlags::empty(),
        DeviceFilter::Off => MsFlags::MS_NODEV,
    };
    mount_overlay(&names.dir, &root, flags, &options)?;
    names.unmount()?;
    Ok(root)
}

/// The kernel takes a page of options and cuts what is beyond: a longer chain is an error here, not a wrong root.
fn mount_overlay(names: &Path, target: &Path, flags: MsFlags, options: &str) -> SetupResult {
    const PAGE: usize = 4096;
    // Where the overlay keeps its own marks: only root of the whole machine has the other place for them.
    let options = if userns::is_initial() { options.to_owned() } else { format!("{options},userxattr") };
    if options.len() >= PAGE {
        let layers = options.matches(':').count() + 1;
        return Err(format!("a chain of {layers} layers is longer than an overlay can be"));
    }
    std::env::set_current_dir(names).map_err(failed("enter the directory with the layers' names"))?;
    mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str()))
        .map_err(failed("mount the overlay"))
}

/// How an overlay names a directory that is not among the layers: the way from their directory, both absolute. What they share is left out: it may hold characters that mean
/// something among an overlay's options, and takes room.
pub fn lower_name(from: &Path, to: &Path) -> String {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect::<PathBuf>().display().to_string()
}

fn memory(root: &Path, name: &str, options: &str) -> SetupResult {
    let target = mount_point(root, name)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some(options))
        .map_err(failed(format!("mount `/{name}`")))
}

fn device_nodes(root: &Path) -> SetupResult {
    let dev = mount_point(root, "dev")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), flags, Some("mode=0755")).map_err(failed("mount `/dev`"))?;
    for (name, major, minor) in DEVICES {
        device_node(name, rustix::fs::makedev(*major, *minor), &dev.join(name))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).map_err(failed(format!("create `/dev/{name}`")))?;
    }
    make_dir(&dev.join("pts"))?;
    let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), flags, Some(options))
        .map_err(failed("mount `/dev/pts`"))?;
    memory(root, "dev/shm", "mode=1777")
}

/// A node of its own, because the mode of the host's would be the host's; that, where nodes cannot be made.
fn device_node(name: &str, number: u64, target: &Path) -> SetupResult {
    let act = || format!("create `/dev/{name}`");
    match rustix::fs::mknodat(rustix::fs::CWD, target, FileType::CharacterDevice, Mode::empty(), number) {
        Ok(()) => fs::set_permissions(target, fs::Permissions::from_mode(0o666)).map_err(failed(act())),
        Err(rustix::io::Errno::PERM) => {
            fs::File::create(target).map_err(failed(act()))?;
            bind(&Path::new("/dev").join(name), target, Access::ReadWrite)
        }
        Err(e) => Err(failed(act())(e)),
    }
}

/// What the stage is shown, entry by entry, through an overlay of its own: neither its place on the host nor the file system
/// that it is on can be learnt or reached.
fn shown(spec: &Spec, root: &Path) -> SetupResult {
    let dir = spec.place.run_dir.join(SHOWN_DIR);
    let names = names_in(&dir)?;
    if names.is_empty() {
        return Ok(());
    }
    let none: Option<&str> = None;
    let empty = Nameless::open(&spec.place.run_dir.join("empty"))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let veil = spec.place.run_dir.join("veil");
    make_dir(&veil)?;
    let lower = Nameless::open(&dir)?;
    mount_overlay(&spec.place.run_dir, &veil, flags, &format!("lowerdir={lower}:{empty},{OVERLAY_OPTIONS}"))?;
    for name in names {
        let (source, target) = (veil.join(&name), ibuild_dir(root).join(&name));
        make_target(&source, &target)?;
        mount(Some(&source), &target, none, MsFlags::MS_BIND, none)
            .map_err(failed(format!("show `{}`", name.display())))?;
    }
    umount2(&veil, MntFlags::MNT_DETACH).map_err(failed("let go of a veil"))
}

/// Directories that the stage may write to and that are no part of its tree. What is written arrives in the directory itself,
/// through an overlay that has it for its upper one.
fn outputs(spec: &Spec, root: &Path) -> SetupResult {
    let dir = spec.place.run_dir.join(OUTPUT_DIR);
    for name in names_in(&dir)? {
        let target = ibuild_dir(root).join(&name);
        let work = spec.place.run_dir.join("output-work").join(&name);
        make_dir(&target)?;
        fs::create_dir_all(&work).map_err(failed("make room for what is written"))?;
        let (upper, work) = (Nameless::open(&dir.join(&name))?, Nameless::open(&work)?);
        let empty = Nameless::open(&spec.place.run_dir.join("empty"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("lowerdir={empty},upperdir={upper},workdir={work},volatile,{OVERLAY_OPTIONS}");
        mount_overlay(&spec.place.run_dir, &target, flags, &options)?;
    }
    Ok(())
}

fn ibuild_dir(root: &Path) -> PathBuf {
    root.join(RUN_DIR.trim_start_matches('/'))
}

/// What is in a directory, in the order of names; nothing in one that is not there.
fn names_in(dir: &Path) -> SetupResult<Vec<OsString>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read what is to be shown"))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names.map_err(failed("read what is to be shown"))?;
    names.sort();
    Ok(names)
}

/// Something of the same kind, to mount on.
fn make_target(source: &Path, target: &Path) -> SetupResult {
    if source.is_dir() {
        return make_dir(target);
    }
    fs::File::create(target).map(drop).map_err(failed(format!("create `{}`", target.display())))
}

fn bind(source: &Path, target: &Path, access: Access) -> SetupResult {
    let none: Option<&str> = None;
    let act = || format!("bind `{}`", source.display());
    mount(Some(source), target, none, MsFlags::MS_BIND, none).map_err(failed(act()))?;
    if access == Access::ReadWrite {
        return Ok(());
    }
    let flags =
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | kept(target);
    mount(none, target, none, flags, none).map_err(failed(act()))
}

/// What a mount of the host forbids stays forbidden where it is bound in a user namespace.
fn kept(target: &Path) -> MsFlags {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let forbids = statvfs(target).map_or(FsFlags::empty(), |stat| stat.flags());
    let pairs = [(FsFlags::ST_NODEV, MsFlags::MS_NODEV), (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC)];
    let kept =
        pairs.into_iter().filter(|(forbidden, _)| forbids.contains(*forbidden) && !userns::is_initial());
    kept.map(|(_, flag)| flag).collect()
}

/// Another root file system, to copy from. An overlay without an upper directory needs two lower ones.
fn other_root(spec: &Spec, root: &Path) -> SetupResult {
    if spec.place.from.is_empty() {
        return Ok(());
    }
    let target = ibuild_dir(root).join("from");
    make_dir(&target)?;
    let empty = Nameless::open(&spec.place.run_dir.join("empty"))?;
    let names = LayerNames::link(spec, "from", &spec.place.from)?;
    let options = format!("lowerdir={}:{empty},{OVERLAY_OPTIONS}", names.numbers.join(":"));
    mount_overlay(&names.dir, &target, MsFlags::empty(), &options)?;
    names.unmount()
}

/// Makes `root` the root, and lets go of the old one.
fn pivot(root: &Path) -> SetupResult {
    std::env::set_current_dir(root).map_err(failed("enter the new root"))?;
    pivot_root(".", ".").map_err(failed("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("let go of the old root"))?;
    std::env::set_current_dir("/").map_err(failed("enter the new root"))
}

#[cfg(test)]
mod tests;
