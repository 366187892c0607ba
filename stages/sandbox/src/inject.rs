//! Files that a stage sees but that are not to be in its snapshot.
//!
//! They are ordinary files, so that scripts may move, divert or remove them as they do on any system. Afterwards those
//! that still are what was put there go; what a script changed is its own.
//!
//! Bind mounts would make `rm` and `mv` of these files fail.
//!
//! Links in the tree are followed as a program inside would follow them, but for those of `/proc/PID`: what they lead to is
//! this process's own, which has more rights than the payload.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, fstat, futimens, openat2,
};

use super::BUILD_MACHINE_ID;
use super::mounts::{SetupResult, failed};
use super::view::{Inject, InjectedContent};

const MACHINE_ID: &str = "/etc/machine-id";
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";

/// Changes when a stage finds another machine id, or leaves another one behind. Belongs into the key of every stage.
pub const MACHINE_ID_WRITER: &str = "ibuild-machine-id 1";

/// What was put into the sandbox. [`Injected::withdraw`] has to follow.
#[must_use = "what was injected has to be withdrawn"]
pub(super) struct Injected {
    root: Root,
    files: Vec<(PathBuf, String)>,
}

/// The root directory of the sandbox.
struct Root(OwnedFd);

impl Root {
    fn open_root() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open("/", flags, Mode::empty())?))
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from(0o644) } else { Mode::empty() };
        // A pipe is not waited for; a mere handle never waits.
        let waits = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK };
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC | waits, mode, resolve)?.into())
    }

    /// The directory of a file, and the file's name.
    fn place<'p>(&self, path: &'p Path) -> io::Result<(File, &'p OsStr)> {
        let (dir, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
    }

    /// The text of a regular file of moderate size. What a stage left in its place may be a pipe that never ends, or a device.
    fn text(&self, path: &Path) -> io::Result<String> {
        const MOST: u64 = 1 << 20;
        let file = self.open(path, OFlags::RDONLY)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        io::read_to_string(file.take(MOST))
    }

    fn is_link(&self, path: &Path) -> bool {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|file| file.metadata())
            .is_ok_and(|meta| meta.is_symlink())
    }

    /// Writes a file with its time, in seconds since 1970, in a directory that keeps its own.
    fn put(&self, path: &Path, content: &str, mode: Option<u32>, epoch: i64) -> io::Result<()> {
        let (dir, _) = self.place(path)?;
        let before = fstat(&dir)?;
        let mut file = self.open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(content.as_bytes())?;
        if let Some(mode) = mode {
            fchmod(&file, Mode::from(mode))?;
        }
        set_time(&file, epoch, 0)?;
        set_time(&dir, before.st_mtime, before.st_mtime_nsec as i64)
    }
}

/// The text of a regular file of the tree.
pub(super) fn text(path: &Path) -> io::Result<String> {
    Root::open_root()?.text(path)
}

fn set_time(file: impl AsFd, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Ok(futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

/// Puts files into the sandbox, and a machine id if the tree has none of its own. They have the time `epoch`, in seconds since
/// 1970, and their directories keep the time that they had: nothing shows when the sandbox was made.
pub(super) fn inject(files: &[Inject], epoch: i64) -> SetupResult<Injected> {
    let root = Root::open_root().map_err(failed("open the root directory"))?;
    let mut injected = Injected { root, files: Vec::new() };
    let root = &injected.root;
    for file in files {
        let InjectedContent::Text(content) = &file.content else { continue };
        let there = || root.open(&file.path, OFlags::PATH | OFlags::NOFOLLOW);
        let is_free = || there().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if root.place(&file.path).is_ok() && is_free() {
            let act = format!("create `{}`", file.path.display());
            root.put(&file.path, content, Some(file.mode), epoch).map_err(failed(act))?;
            injected.files.push((file.path.clone(), content.clone()));
        }
    }
    let machine_id_path = Path::new(MACHINE_ID);
    if root.place(machine_id_path).is_ok() && lacks_machine_id(root) {
        let put = root.put(machine_id_path, &machine_id(), None, epoch);
        put.map_err(failed("write `/etc/machine-id`"))?;
    }
    Ok(injected)
}

fn machine_id() -> String {
    format!("{BUILD_MACHINE_ID}\n")
}

fn lacks_machine_id(root: &Root) -> bool {
    match root.text(Path::new(MACHINE_ID)) {
        Ok(text) => text.trim().is_empty() || text.trim() == "uninitialized",
        Err(e) => e.kind() == io::ErrorKind::NotFound && !root.is_link(Path::new(MACHINE_ID)),
    }
}

impl Injected {
    /// Takes out what still is as it was put in. Of the machine id an empty file stays: that is how an image says that
    /// each machine is to choose its own.
    pub(super) fn withdraw(self) -> SetupResult {
        let Self { root, files } = self;
        for (path, content) in &files {
            if root.text(path).is_ok_and(|now| now == *content) {
                remove(&root, path).map_err(failed(format!("remove `{}`", path.display())))?;
            }
        }
        let is_ours = |path: &Path| root.text(path).is_ok_and(|text| text.trim() == BUILD_MACHINE_ID);
        let (machine_id, dbus) = (Path::new(MACHINE_ID), Path::new(DBUS_MACHINE_ID));
        if !root.is_link(dbus) && is_ours(dbus) {
            remove(&root, dbus).map_err(failed("remove D-Bus's machine id"))?;
            link(&root, dbus).map_err(failed("link D-Bus's machine id"))?;
        }
        if is_ours(machine_id) {
            empty(&root, machine_id).map_err(failed("empty `/etc/machine-id`"))?;
        }
        Ok(())
    }
}

fn remove(root: &Root, path: &Path) -> io::Result<()> {
    let (dir, name) = root.place(path)?;
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

fn link(root: &Root, path: &Path) -> io::Result<()> {
    let (dir, name) = root.place(path)?;
    Ok(rustix::fs::symlinkat(MACHINE_ID, dir, name)?)
}

fn empty(root: &Root, path: &Path) -> io::Result<()> {
    let file = root.open(path, OFlags::WRONLY | OFlags::TRUNC)?;
    Ok(fchmod(&file, Mode::from(0o444))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_golden::pin;

    #[test]
    fn the_machine_id_has_a_version() {
        let seen = [MACHINE_ID, DBUS_MACHINE_ID, &machine_id()].join("\n");
        let pinned =
            ("ibuild-machine-id 1", "60887dbbe69b2503ce8b692cfcd0ed264f8c257c1545fb5d7330335c35a1d854");
        pin("MACHINE_ID_WRITER in sandbox/inject.rs", MACHINE_ID_WRITER, pinned, seen);
    }
}
