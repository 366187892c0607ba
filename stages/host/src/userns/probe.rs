//! Whether an overlay can be mounted, tried where it will be.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::UserNamespaceError;
use super::error::MOUNT;
use super::host::Obstacle;
use crate::overlay::OVERLAY_OPTIONS;

/// Mounts an overlay on the file system of `dir`, in which it makes a directory for the time being, and removes a file in
/// it. To be called by the root of a user namespace: see [`enter`](super::enter). The calling thread has mounts of its own
/// afterwards.
pub fn probe_overlay(dir: &Path) -> Result<(), UserNamespaceError> {
    let refused =
        |source| UserNamespaceError::Powerless { act: MOUNT, obstacle: Obstacle::of_host(), source };
    let lab = tempfile::tempdir_in(dir).map_err(refused)?;
    own_mounts().map_err(refused)?;
    try_overlay(lab.path()).map_err(refused)
}

fn own_mounts() -> io::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?)
}

fn try_overlay(lab: &Path) -> io::Result<()> {
    for name in ["lower", "upper", "work", "root"] {
        fs::create_dir(lab.join(name))?;
    }
    fs::write(lab.join("lower/file"), "")?;
    let place = |name: &str| lab.join(name).display().to_string();
    let (lower, upper, work) = (place("lower"), place("upper"), place("work"));
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},{OVERLAY_OPTIONS},userxattr");
    let root = lab.join("root");
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    let removed = fs::remove_file(root.join("file"));
    umount2(&root, MntFlags::MNT_DETACH)?;
    removed
}
