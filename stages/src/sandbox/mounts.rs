//! The file systems of a sandbox. All of them are in init's own mount namespace and end with it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::RUN_DIR;
use super::spec::{Access, Bind, Spec};

/// What failed, in words, with the kernel's reason.
pub(super) type SetupResult<T = ()> = Result<T, String>;

/// Adds words to an error.
pub(super) fn failed<E: std::fmt::Display>(act: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("cannot {act}: {error}")
}

/// The devices that every program may expect, bound from the host because making nodes needs more rights.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Mounts everything below the overlay and makes it the root.
pub(super) fn enter(spec: &Spec) -> SetupResult {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(failed("make mounts private"))?;
    let root = overlay(spec)?;
    memory(&root, "run", "mode=0755")?;
    memory(&root, "tmp", "mode=1777")?;
    for (dir, mode) in [("run/lock", 0o1777), ("run/ibuild", 0o755)] {
        let dir = root.join(dir);
        make_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).map_err(failed("set a mode"))?;
    }
    processes(&root)?;
    memory(&root, "sys", "mode=0555,size=0")?;
    devices(&root)?;
    for bind in &spec.binds {
        bind_into(&root, bind)?;
    }
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

/// Mounts the overlay: from the layers' directory, so that their names can be short.
fn overlay(spec: &Spec) -> SetupResult<PathBuf> {
    let dir = |name: &str| {
        let dir = spec.run_dir.join(name);
        make_dir(&dir).map(|()| dir)
    };
    let (root, work, empty) = (dir("root")?, dir("work")?, dir("empty")?);
    let upper = spec.run_dir.join("upper");
    let mut lowers = spec.lowers.clone();
    if lowers.is_empty() {
        lowers.push(lower_name(&spec.layers_dir, &empty));
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile,redirect_dir=off,metacopy=off,index=off",
        lowers.join(":"),
        lower_name(&spec.layers_dir, &upper),
        lower_name(&spec.layers_dir, &work),
    );
    mount_overlay(spec, &root, &options)?;
    Ok(root)
}

/// The kernel takes a page of options and cuts what is beyond: a longer chain is an error here, not a wrong root.
fn mount_overlay(spec: &Spec, target: &Path, options: &str) -> SetupResult {
    const PAGE: usize = 4096;
    if options.len() >= PAGE {
        return Err(format!("a chain of {} layers is longer than an overlay can be", spec.lowers.len()));
    }
    std::env::set_current_dir(&spec.layers_dir).map_err(failed("enter the layers' directory"))?;
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options))
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
    let target = root.join(name);
    make_dir(&target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some(options))
        .map_err(failed(format!("mount `/{name}`")))
}

/// Processes of the sandbox only. The kernel's settings cannot be changed from inside, because they are the host's.
fn processes(root: &Path) -> SetupResult {
    let target = root.join("proc");
    make_dir(&target)?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &target, Some("proc"), flags, none).map_err(failed("mount `/proc`"))?;
    for name in ["sys", "sysrq-trigger", "irq", "bus", "fs"] {
        let path = target.join(name);
        if path.exists() {
            bind(&path, &path, Access::ReadOnly)?;
        }
    }
    for name in ["kcore", "kmsg", "keys", "timer_list", "sched_debug"] {
        let path = target.join(name);
        if path.exists() {
            bind(Path::new("/dev/null"), &path, Access::ReadWrite)?;
        }
    }
    Ok(())
}

fn devices(root: &Path) -> SetupResult {
    let dev = root.join("dev");
    make_dir(&dev)?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), flags, Some("mode=0755")).map_err(failed("mount `/dev`"))?;
    for name in DEVICES {
        let target = dev.join(name);
        fs::File::create(&target).map_err(failed(format!("create `/dev/{name}`")))?;
        mount(Some(&Path::new("/dev").join(name)), &target, none, MsFlags::MS_BIND, none)
            .map_err(failed(format!("bind `/dev/{name}`")))?;
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

fn bind_into(root: &Path, bind_spec: &Bind) -> SetupResult {
    let target = root.join(RUN_DIR.trim_start_matches('/')).join(&bind_spec.target);
    let parent = target.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(failed(format!("create `{}`", parent.display())))?;
    if bind_spec.source.is_dir() {
        make_dir(&target)?;
    } else {
        fs::File::create(&target).map_err(failed(format!("create `{}`", target.display())))?;
    }
    bind(&bind_spec.source, &target, bind_spec.access)
}

fn bind(source: &Path, target: &Path, access: Access) -> SetupResult {
    let none: Option<&str> = None;
    let act = || format!("bind `{}`", source.display());
    mount(Some(source), target, none, MsFlags::MS_BIND, none).map_err(failed(act()))?;
    if access == Access::ReadWrite {
        return Ok(());
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(none, target, none, flags, none).map_err(failed(act()))
}

/// Another root file system, to copy from. An overlay without an upper directory needs two lower ones.
fn other_root(spec: &Spec, root: &Path) -> SetupResult {
    if spec.from.is_empty() {
        return Ok(());
    }
    let target = root.join(RUN_DIR.trim_start_matches('/')).join("from");
    make_dir(&target)?;
    let empty = lower_name(&spec.layers_dir, &spec.run_dir.join("empty"));
    let options = format!("lowerdir={}:{empty},redirect_dir=off,metacopy=off,index=off", spec.from.join(":"));
    mount_overlay(spec, &target, &options)
}

/// Makes `root` the root, and lets go of the old one.
fn pivot(root: &Path) -> SetupResult {
    std::env::set_current_dir(root).map_err(failed("enter the new root"))?;
    pivot_root(".", ".").map_err(failed("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("let go of the old root"))?;
    std::env::set_current_dir("/").map_err(failed("enter the new root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_goes_over_what_is_shared() {
        let way = |from: &str, to: &str| lower_name(Path::new(from), Path::new(to));
        assert_eq!(way("/s/layers/boot", "/s/runs/1/upper"), "../../runs/1/upper");
        assert_eq!(way("/a:b/layers", "/a:b/runs/x"), "../runs/x");
        assert_eq!(way("/a", "/a/b"), "b");
    }
}
