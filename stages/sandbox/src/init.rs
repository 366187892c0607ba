//! The stage's init: the only code that runs between the builder and the payload.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, sethostname};

use super::copy::{Copied, Sources};
use super::end::End;
use super::mounts::{SecretBytes, SetupResult, failed};
use super::own_proc::OwnProc;
use super::process::Ran;
use super::protocol::{Given, Order, Report, SecretFile, receive, receive_bytes, send, send_with_fds};
use super::spec::Stdio;
use super::view::{NetworkSpec, Payload};
use super::visible_machine::time_namespace;
use super::{copy, inject, mounts, network, process, process_setup};

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const INTO_CGROUP: u64 = 1 << 33;
/// Runs a sandbox to its end and ends the process. To be called first thing in a process that has one thread, was started
/// by a [`Supervisor`](super::Supervisor), and does nothing else.
pub fn init_main() -> ! {
    // Where even the builder cannot be found there is nobody to tell.
    let status = control().and_then(|mut control| told(&mut control, outer)).unwrap_or(1);
    end(status)
}

/// The socket to the builder, which is where input would be, at a place of its own. Nothing else that was open stays so.
fn control() -> SetupResult<UnixStream> {
    const FIRST_FREE: RawFd = 3;
    process_setup::close_inherited(FIRST_FREE as u32).map_err(failed("close what was inherited"))?;
    let stdin = io::stdin();
    let control = rustix::io::fcntl_dupfd_cloexec(&stdin, FIRST_FREE).map_err(failed("find the builder"))?;
    let nothing = File::open("/dev/null").map_err(failed("open `/dev/null`"))?;
    rustix::stdio::dup2_stdin(nothing).map_err(failed("have no input"))?;
    Ok(control.into())
}

/// Lets the builder hear why something could not be done.
fn told(
    control: &mut UnixStream,
    work: impl FnOnce(&mut UnixStream) -> SetupResult<i32>,
) -> SetupResult<i32> {
    work(control).inspect_err(|reason| {
        // If the builder is gone there is nobody to tell.
        let _ = send(control, &Report::Failed(reason.clone()));
    })
}

/// Ends the process at once. What the libraries of this program would do first takes longer than an empty stage.
fn end(status: i32) -> ! {
    // SAFETY: a system call. Nothing is buffered: init writes to its socket only.
    unsafe { libc::_exit(status) }
}

/// Outside the new PID namespace: makes it, and waits for its first process.
fn outer(control: &mut UnixStream) -> SetupResult<i32> {
    die_with_parent()?;
    let (order, fds) = receive::<Order>(control)
        .map_err(failed("hear what to do"))?
        .ok_or_else(|| "the builder is gone".to_owned())?;
    let secrets = receive_secrets(control, &order).map_err(failed("hear the secrets"))?;
    let group = accept(&order.given, fds)?;
    if order.spec.policy.stdio == Stdio::Terminal {
        process_setup::join_builders_group().map_err(failed("use the terminal"))?;
    }
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(namespaces).map_err(failed("make namespaces"))?;
    time_namespace::enter(order.spec.machine.uptime)?;
    // SAFETY: this process has one thread.
    match unsafe { fork_into(group.as_ref()) }.map_err(failed("fork"))? {
        ForkResult::Parent { child } => {
            drop(secrets);
            watch(control, child)
        }
        ForkResult::Child => {
            // It leads to the host's files.
            drop(group);
            end(told(control, |control| inner(control, &order, secrets).map(|()| 0)).unwrap_or(1));
        }
    }
}

/// The bytes of the secrets that an order announces.
fn receive_secrets(control: &mut UnixStream, order: &Order) -> io::Result<Vec<SecretBytes>> {
    let receive = |file: &SecretFile| Ok((file.name.clone(), receive_bytes(control, file.length)?));
    order.secrets.iter().map(receive).collect()
}

/// Takes each descriptor for what it is for; gives the control group to start the payload in.
fn accept(given: &[Given], fds: Vec<OwnedFd>) -> SetupResult<Option<OwnedFd>> {
    if given.len() != fds.len() {
        return Err(format!("{} descriptors came instead of {}", fds.len(), given.len()));
    }
    let mut group = None;
    for (given, fd) in given.iter().zip(fds) {
        match given {
            Given::Input => rustix::stdio::dup2_stdin(fd).map_err(failed("take over the input"))?,
            Given::Output => rustix::stdio::dup2_stdout(fd).map_err(failed("take over the output"))?,
            Given::Error => rustix::stdio::dup2_stderr(fd).map_err(failed("take over the errors"))?,
            Given::Entrance => {
                rustix::io::write(fd, b"0").map_err(failed("enter a control group"))?;
            }
            Given::Group => group = Some(fd),
        }
    }
    Ok(group)
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
fn inner(
    control: &mut UnixStream,
    Order { spec, devices, front, .. }: &Order,
    secrets: Vec<SecretBytes>,
) -> SetupResult {
    die_with_parent()?;
    // The group that it was started in is the root of those that it sees.
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(failed("make namespaces"))?;
    sethostname(&spec.machine.host_name).map_err(failed("set the host name"))?;
    process_setup::begin().map_err(failed("let go of what was inherited"))?;
    let sources = Sources::open(spec)?;
    mounts::enter(spec, &secrets, *devices)?;
    // From here on only the payload's own file system has them.
    drop(secrets);
    network::loopback_up().map_err(failed("switch the loopback interface on"))?;
    if spec.network == NetworkSpec::Proxy {
        hand_out_listener(control).map_err(failed("hand the proxy's listener out"))?;
    }
    // Before anything of the stage can put something else there.
    let proc = OwnProc::take()?;
    let injected = inject::inject(&spec.inject, spec.epoch)?;
    let end = match &spec.payload {
        Payload::Exec { argv } => match process::run(argv, spec, *front, &proc)? {
            Ran::Ended(end) => end,
            Ran::NotStarted(reason) => {
                return send(control, &Report::NotStarted(reason)).map_err(failed("report"));
            }
        },
        Payload::Copy(_) => match mounts::cover_proc().and_then(|()| copy::copy(spec, &sources))? {
            Copied::All => End::SUCCESS,
            Copied::SourceChanged(path) => {
                return send(control, &Report::SourceChanged(path)).map_err(failed("report"));
            }
            Copied::InTheWay(what) => {
                return send(control, &Report::InTheWay(what)).map_err(failed("report"));
            }
            Copied::NotUnpacked(reason) => {
                return send(control, &Report::NotUnpacked(reason)).map_err(failed("report"));
            }
        },
    };
    let survivors = process::kill_survivors(&proc);
    injected.withdraw()?;
    send(control, &Report::Ended { end, survivors }).map_err(failed("report"))
}

fn hand_out_listener(control: &UnixStream) -> io::Result<()> {
    let listener = network::listen()?;
    send_with_fds(control, &Report::Listener, &[listener.as_fd()])
}
