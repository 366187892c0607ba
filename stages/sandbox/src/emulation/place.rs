//! The place of a caller: its root, and the directory that its relative paths start from.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};

use super::caller::Caller;
use crate::mounts::{SetupResult, failed};

/// The root of init, to which its thread returns.
pub(crate) struct OwnRoot(OwnedFd);

impl OwnRoot {
    /// For a process that is in the root of the payload already.
    pub(crate) fn new() -> SetupResult<Self> {
        let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        root.map(Self).map_err(failed("open the root"))
    }

    /// Does something as a process would see it that has the caller's root and is in this directory.
    pub(super) fn act_at<T>(
        &self,
        caller: &Caller,
        base: &OwnedFd,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let done = enter(&caller.open("root")?, base).and_then(|()| act());
        rustix::process::fchdir(&self.0)?;
        rustix::process::chroot(".")?;
        done
    }
}

fn enter(root: &OwnedFd, base: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    // A descriptor of a file is no place to start from, and need not be for an absolute path.
    let _ = rustix::process::fchdir(base);
    Ok(())
}
