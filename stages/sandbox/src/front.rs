//! Who is in front of a person's terminal. One group of processes is: it may read, and Ctrl-C and Ctrl-Z go to it.
//!
//! A payload at a terminal is a group of its own, and in front, for as long as it runs. In the builder's group it could read
//! as well, but it would not see that group: the number of one outside its PID namespace is 0 in there. A shell that looks who
//! was in front when it began, to put it back at its end, as dash does, would try to put group 0 there and say that it cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, killpg, sigaction};
use nix::unistd::{Pid, getpgrp, getpid, isatty, setpgid, tcgetpgrp, tcsetpgrp};
use serde::{Deserialize, Serialize};

/// Who is in front while a payload runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Front {
    /// The payload, as a group of its own.
    Payload,
    /// Whoever was before: the builder has no terminal, or runs in the background of one.
    Unchanged,
}

/// The builder's place in front of its terminal, which it gives to a payload and has back when this goes.
#[must_use = "the terminal is taken back when this goes"]
pub(super) struct Lent(OwnedFd);

impl Lent {
    /// If the builder is in front of a terminal and has all of it. With output to a pager, that belongs to the same group
    /// and has to be in front, too.
    pub(super) fn new() -> Option<Self> {
        if !standard().iter().all(is_terminal) {
            return None;
        }
        let terminal = terminal()?;
        let is_ours = tcgetpgrp(terminal) == Ok(getpgrp());
        is_ours.then(|| terminal.try_clone_to_owned().ok()).flatten().map(Self)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A group that is still there is that of the shell which the builder was started from, and which stopped it since.
        if let Ok(front) = tcgetpgrp(&self.0)
            && killpg(front, None) == Err(Errno::ESRCH)
        {
            // Where the terminal is gone there is nothing to take back.
            let _ = put_in_front(self.0.as_fd(), getpgrp());
        }
    }
}

/// The first of input and output that is a terminal.
fn terminal() -> Option<BorrowedFd<'static>> {
    standard().into_iter().find(is_terminal)
}

fn standard() -> [BorrowedFd<'static>; 3] {
    // SAFETY: these are open for as long as a process lives; whoever closed them gets the error of a closed one.
    [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}

fn is_terminal(fd: &BorrowedFd<'_>) -> bool {
    isatty(fd) == Ok(true)
}

/// The kernel would stop a process that does this from behind, were the signal for that not blocked.
fn put_in_front(terminal: BorrowedFd<'_>, group: Pid) -> nix::Result<()> {
    let stop = SigSet::from(Signal::SIGTTOU);
    stop.thread_block()?;
    let done = tcsetpgrp(terminal, group);
    stop.thread_unblock()?;
    done
}

/// For the payload, before it is executed: makes a group of it, in front.
pub(super) fn come() -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let terminal = terminal().ok_or(Errno::ENOTTY)?;
    Ok(put_in_front(terminal, getpid())?)
}

/// For init, before it has a payload that comes to the front: gets ready to hear that the builder goes on.
pub(super) fn prepare() -> nix::Result<()> {
    extern "C" fn ignore(_: libc::c_int) {}
    SigSet::from(Signal::SIGCONT).thread_block()?;
    // With an action of its own the call that the signal refuses ends, rather than being made again at once.
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGTTOU, &action) }.map(drop)
}

/// For init, when its payload was stopped, as by Ctrl-Z: stops the builder likewise, whose shell then comes to the front, and
/// lets the payload go on when that shell has the builder go on.
pub(super) fn pause_with(payload: Pid) {
    let Some(terminal) = terminal() else { return };
    while is_continued(0) {}
    // The group that init was started in is the builder's. The first process of a namespace does not stop.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    loop {
        wait_for_builder(terminal, payload);
        // From the background this stops the builder once more.
        let is_in_front = tcgetpgrp(terminal) == Ok(payload);
        if is_in_front || tcsetpgrp(terminal, payload) != Err(Errno::EINTR) {
            break;
        }
    }
    let _ = killpg(payload, Signal::SIGCONT);
}

/// Until the builder was told to go on. One that nobody stopped, because no shell would have it go on, is not told.
fn wait_for_builder(terminal: BorrowedFd<'_>, payload: Pid) {
    const STEP_MILLIS: u32 = 100;
    const PATIENCE: usize = 10;
    let mut unnoticed = 0;
    while unnoticed < PATIENCE && !is_continued(STEP_MILLIS) {
        unnoticed = if tcgetpgrp(terminal) == Ok(payload) { unnoticed + 1 } else { 0 };
    }
}

/// Whether the signal to go on comes within so many milliseconds.
fn is_continued(millis: u32) -> bool {
    let wanted = SigSet::from(Signal::SIGCONT);
    let time = libc::timespec { tv_sec: 0, tv_nsec: libc::c_long::from(millis) * 1_000_000 };
    // SAFETY: the set and the time live through the call, and nothing is written.
    unsafe { libc::sigtimedwait(wanted.as_ref(), std::ptr::null_mut(), &raw const time) == libc::SIGCONT }
}
