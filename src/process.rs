//! What a process that builds is: the init of its own sandboxes, and root, if only of a namespace.

#![allow(
    clippy::disallowed_methods,
    reason = "a sandbox tells the program by its command line that it is to be an init"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use ibuild_stages::host::userns;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Classified, Context, ErrorKind, Result};

/// The first argument with which a sandbox starts this program again as its init. Not for people.
pub const STAGE_INIT: &str = "__stage-init";

/// Whether this program would become an init if a sandbox started it as one.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// A sandbox would run the program once more in the place of an init.
#[derive(Debug, thiserror::Error)]
#[error("this program has not called `ibuild::begin` first of all")]
struct NotBegun;

impl Classified for NotBegun {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Bug
    }
}

/// Refuses to go on in a program that cannot be the init of a sandbox.
pub(crate) fn check_begun() -> Result<()> {
    if BEGUN.load(Ordering::Relaxed) { Ok(()) } else { Err(NotBegun.into()) }
}

/// Has to be the first thing that a program does that builds. Started as the init of a sandbox, the program becomes that and
/// does not return. Else it gets ready for [`become_root`]: to be called while the process has one thread.
pub fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
    if std::env::args_os().nth(1).is_some_and(|word| word == STAGE_INIT) {
        ibuild_stages::sandbox::init_main();
    }
    await_children();
}

/// Lets the kernel keep the statuses of ended children until they are asked for. A parent that ignores SIGCHLD passes that on.
fn await_children() {
    // SAFETY: there is no handler.
    let _ = unsafe {
        sigaction(Signal::SIGCHLD, &SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()))
    };
}

/// Keeps the memory of this process, in which there are secrets from now on, out of core dumps. With a limit of 0 the kernel would
/// still hand one to a program that collects them; with 1 it makes none.
pub(crate) fn forbid_cores() {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap_or((0, 0));
    // A hard limit of 0 stays, which leaves no file at least.
    let _ = setrlimit(Resource::RLIMIT_CORE, hard.min(1), hard);
}

/// Makes an ordinary user root of a namespace, before there is a second thread; root stays root. From then on a
/// new file's mode is what whoever makes it says, and its group is root's: neither is a matter of the user's habits.
///
/// # Errors
///
/// Where the kernel gives an ordinary user no namespace.
pub fn become_root() -> Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    if nix::unistd::geteuid().is_root() {
        return nix::unistd::setegid(nix::unistd::Gid::from_raw(0)).context("cannot take root's group");
    }
    userns::enter().context("without root, this works in a user namespace only, and there is none")
}
