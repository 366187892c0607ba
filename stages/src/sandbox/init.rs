//! The stage's init: the only code that runs between the builder and the payload.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, sethostname};

use super::mounts::{SetupResult, failed};
use super::protocol::{Order, Report, receive, send, send_with_fd};
use super::spec::{NetworkSpec, Payload};
use super::{HOST_NAME, copy, fresh, inject, mounts, network, process};

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const INTO_CGROUP: u64 = 1 << 33;
/// The descriptor on which init finds the builder.
pub(super) const CONTROL_FD: RawFd = 3;

/// Runs a sandbox to its end and gives the exit status for the process. To be called first thing in a process that has
/// one thread, was started by a [`Supervisor`](super::Supervisor), and does nothing else.
pub fn init_main() -> i32 {
    // SAFETY: the supervisor put the socket there and nothing else in this process knows the number.
    let mut control = UnixStream::from(unsafe { OwnedFd::from_raw_fd(CONTROL_FD) });
    match outer(&mut control) {
        Ok(status) => status,
        Err(reason) => {
            // If the builder is gone there is nobody to tell.
            let _ = send(&mut control, &Report::Failed(reason));
            1
        }
    }
}

/// Outside the new PID namespace: makes it, and waits for its first process.
fn outer(control: &mut UnixStream) -> SetupResult<i32> {
    die_with_parent()?;
    fresh::close_inherited(CONTROL_FD as u32 + 1).map_err(failed("close what was inherited"))?;
    let (order, group) = receive::<Order>(control)
        .map_err(failed("hear what to do"))?
        .ok_or_else(|| "the builder is gone".to_owned())?;
    close_on_exec(control)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(namespaces).map_err(failed("make namespaces"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork_into(group.as_ref()) }.map_err(failed("fork"))? {
        ForkResult::Parent { child } => watch(control, child),
        ForkResult::Child => std::process::exit(match inner(control, &order) {
            Ok(()) => 0,
            Err(reason) => {
                let _ = send(control, &Report::Failed(reason));
                1
            }
        }),
    }
}

/// Forks; the child is in the control group from its first moment.
///
/// # Safety
///
/// As that of `fork`.
unsafe fn fork_into(group: Option<&OwnedFd>) -> nix::Result<ForkResult> {
    let Some(group) = group else {
        // SAFETY: the caller's.
        return unsafe { fork() };
    };
    // SAFETY: zero is what the kernel takes for "nothing" in each of the fields.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = group.as_raw_fd() as u64;
    // SAFETY: without a stack or shared memory this is a fork.
    let child =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    Ok(match Errno::result(child)? {
        0 => ForkResult::Child,
        child => ForkResult::Parent { child: Pid::from_raw(child as i32) },
    })
}

/// The kernel kills this process when the thread that started it ends. The lifeline covers the rest: a builder that had
/// died before this call.
fn die_with_parent() -> SetupResult {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(failed("tie the sandbox to the builder"))
}

fn close_on_exec(control: &UnixStream) -> SetupResult {
    rustix::io::fcntl_setfd(control, rustix::io::FdFlags::CLOEXEC)
        .map_err(failed("prepare the control socket"))
}

/// Waits for the first process of the namespace, or for the builder to be gone, which kills it.
fn watch(control: &UnixStream, child: Pid) -> SetupResult<i32> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or("fork gave no process")?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(failed("watch the sandbox"))?;
    let mut lifeline = PollFlags::POLLIN;
    loop {
        // Nothing is ever sent to init after the spec: what is readable is the end.
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(control.as_fd(), lifeline)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(failed("watch the sandbox")(e)),
        }
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status),
            Ok(WaitStatus::Signaled(..)) => return Ok(1),
            Ok(_) => {}
            Err(e) => return Err(failed("wait for the sandbox")(e)),
        }
        if fds[1].any() == Some(true) {
            let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            lifeline = PollFlags::empty();
        }
    }
}

/// Inside: the first process of the namespace.
fn inner(control: &mut UnixStream, Order { spec, devices }: &Order) -> SetupResult {
    die_with_parent()?;
    // The group that it was started in is the root of those that it sees.
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(failed("make namespaces"))?;
    sethostname(HOST_NAME).map_err(failed("set the host name"))?;
    fresh::begin().map_err(failed("let go of what was inherited"))?;
    mounts::enter(spec, *devices)?;
    network::loopback_up().map_err(failed("switch the loopback interface on"))?;
    if spec.network == NetworkSpec::Proxy {
        hand_out_listener(control).map_err(failed("hand the proxy's listener out"))?;
    }
    let injected = inject::inject(&spec.inject)?;
    let status = match &spec.payload {
        Payload::Exec { argv } => process::run(argv, &spec.env, spec.stdio)?,
        Payload::Copy(items) => copy::copy(items).map(|()| 0)?,
    };
    let survivors = process::kill_survivors();
    injected.withdraw()?;
    send(control, &Report::Ended { status, survivors }).map_err(failed("report"))
}

fn hand_out_listener(control: &UnixStream) -> io::Result<()> {
    let listener = network::listen()?;
    send_with_fd(control, &Report::Listener, &listener.into())
}
