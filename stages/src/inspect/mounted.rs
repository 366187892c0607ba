//! A root file system mounted for somebody to look around in: an overlay of its layers, for reading only.
//!
//! The layers belong to the store, which must not lose them as long as they are mounted. So the mount has a keeper: a process
//! that shares the store until the mount is gone, and ends then. The kernel tells it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ibuild_cache::{LockMode, Store};
use nix::mount::{MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::StageError;
use crate::snapshot::{LayerStore, Snapshot};
use ibuild_host::overlay::OVERLAY_OPTIONS;

/// What mounts of this program are called in the kernel's list.
const SOURCE: &str = "ibuild";
const MOUNTS: &str = "/proc/self/mountinfo";

/// A mount that could not be made, or taken away.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Nothing may be hidden.
    #[error("`{}` is not an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// It is no mount, or somebody else's.
    #[error("ibuild has mounted nothing on `{}`", .0.display())]
    NotOurs(PathBuf),
    /// Somebody removes things from the store.
    #[error("the store is being cleaned up")]
    Busy,
    /// The kernel refused.
    #[error("cannot {act} `{}`", path.display())]
    Refused {
        /// What was tried, as a verb.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layers could not be made ready.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl MountError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty(_) => Some("make a directory for it: `mkdir DIR`".to_owned()),
            Self::Busy => Some("try again when that is done".to_owned()),
            Self::Refused { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => Some(
                "something still uses it: a shell in it, or an open file (`fuser -m DIR` tells)".to_owned(),
            ),
            Self::Stage(error) => error.hint(),
            Self::NotOurs(_) | Self::Refused { .. } => None,
        }
    }

    fn refused(act: &'static str, path: &Path) -> impl FnOnce(nix::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Refused { act, path, source: error.into() }
    }
}

/// A mounted root file system, and the claim on its layers.
pub struct Mounted {
    place: PathBuf,
    _shared: ibuild_cache::FileLock,
}

impl Mounted {
    /// Mounts a snapshot on an empty directory, given by its absolute path. Changes this process's working directory.
    pub fn mount(store: &Store, snapshot: &Snapshot, place: &Path) -> Result<Self, MountError> {
        Self::check(place)?;
        let shared = store.share(LockMode::Try).map_err(StageError::from)?.ok_or(MountError::Busy)?;
        let lowers = LayerStore::new(store).lowers(&snapshot.layers).map_err(StageError::from)?;
        let layers = store.layout().layers();
        enter(&layers)?;
        let refused = || MountError::refused("mount a root file system on", place);
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let none: Option<&str> = None;
        match lowers.as_slice() {
            // An overlay has two layers at least.
            [only] => {
                mount(Some(only.as_str()), place, none, MsFlags::MS_BIND, none).map_err(refused())?;
                let again = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
                mount(none, place, none, again, none).map_err(refused())?;
            }
            lowers => {
                let options = format!("lowerdir={},{OVERLAY_OPTIONS}", lowers.join(":"));
                mount(Some(SOURCE), place, Some("overlay"), flags, Some(options.as_str()))
                    .map_err(refused())?;
            }
        }
        Ok(Self { place: place.to_owned(), _shared: shared })
    }

    /// Refuses a place where a mount would hide something.
    pub fn check(place: &Path) -> Result<(), MountError> {
        match fs::read_dir(place).map(Iterator::count) {
            Ok(0) => Ok(()),
            _ => Err(MountError::NotEmpty(place.to_owned())),
        }
    }

    /// Waits until nothing is mounted there any more.
    pub fn wait(self) -> io::Result<()> {
        let mut list = File::open(MOUNTS)?;
        let mut text = String::new();
        loop {
            text.clear();
            io::Seek::rewind(&mut list)?;
            list.read_to_string(&mut text)?;
            if !is_listed(&text, &self.place) {
                return Ok(());
            }
            let mut changed = [PollFd::new(list.as_fd(), PollFlags::POLLPRI)];
            poll(&mut changed, PollTimeout::NONE)?;
        }
    }
}

/// From there the names of layers are short enough for all of them to be told to the kernel.
#[expect(clippy::disallowed_methods, reason = "the keeper of a mount does nothing else")]
fn enter(layers: &Path) -> Result<(), MountError> {
    Ok(std::env::set_current_dir(layers).map_err(StageError::io("enter", layers))?)
}

/// Takes a mount away that [`Mounted::mount`] made.
pub fn unmount(store: &Store, place: &Path) -> Result<(), MountError> {
    let list = fs::read_to_string(MOUNTS).map_err(StageError::io("read", Path::new(MOUNTS)))?;
    if !is_ours(&list, place, &store.layout().layers()) {
        return Err(MountError::NotOurs(place.to_owned()));
    }
    umount2(place, nix::mount::MntFlags::UMOUNT_NOFOLLOW).map_err(MountError::refused("unmount", place))
}

/// The lines of the kernel's list about this place (proc_pid_mountinfo(5)): fields, which have blanks escaped.
fn lines_of<'l>(list: &'l str, place: &Path) -> impl Iterator<Item = &'l str> {
    let escaped = escape(place);
    list.lines().filter(move |line| line.split(' ').nth(4) == Some(escaped.as_str()))
}

fn is_listed(list: &str, place: &Path) -> bool {
    lines_of(list, place).next().is_some()
}

/// The uppermost mount is the one that would go.
fn is_ours(list: &str, place: &Path, layers: &Path) -> bool {
    let layers = escape(layers);
    let overlay = format!(" - overlay {SOURCE} ");
    let root =
        |line: &str| line.split(' ').nth(3).is_some_and(|root| root.contains(layers.trim_start_matches('/')));
    lines_of(list, place).last().is_some_and(|line| line.contains(&overlay) || root(line))
}

fn escape(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes().iter();
    let escaped = bytes.map(|byte| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    });
    String::from_utf8_lossy(&escaped.collect::<Vec<_>>().concat()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "21 1 8:1 / / rw - ext4 /dev/vda rw\n\
        30 21 0:30 / /mnt/a\\040b ro,nosuid - overlay ibuild ro,lowerdir=x:y\n\
        31 21 8:1 /var/cache/ibuild/layers/ab /mnt/one ro - ext4 /dev/vda rw\n\
        32 21 0:31 / /mnt/other rw - overlay overlay rw\n\
        33 21 0:32 / /mnt/a\\040b rw - tmpfs tmpfs rw\n";

    #[test]
    fn only_our_own_mounts_are_taken_away() {
        let layers = Path::new("/var/cache/ibuild/layers");
        let ours = |place: &str, list: &str| is_ours(list, Path::new(place), layers);
        assert!(ours("/mnt/one", LIST));
        assert!(!ours("/mnt/other", LIST) && !ours("/", LIST) && !ours("/mnt", LIST));
        assert!(!ours("/mnt/a b", LIST), "something else is mounted over it");
        let without: String = LIST.lines().take(4).map(|line| format!("{line}\n")).collect();
        assert!(ours("/mnt/a b", &without));
        assert!(is_listed(LIST, Path::new("/mnt/a b")) && !is_listed(LIST, Path::new("/mnt/a")));
    }
}
