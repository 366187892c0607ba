//! The builder's side: starts a stage's init, hands out its listener, waits, gives up in time.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio as StdStdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::SandboxError;
use super::cgroup::Groups;
use super::disk::DiskWatch;
use super::init::CONTROL_FD;
use super::protocol::{Order, Report, receive, send, send_with_fd};
use super::spec::{Spec, Stdio};
use super::transcript::Transcript;

/// How to start the program that calls [`init_main`](super::init_main) first thing.
#[derive(Debug, Clone)]
pub struct InitProgram {
    /// The program, usually this one.
    pub program: PathBuf,
    /// What makes it call `init_main`.
    pub arguments: Vec<String>,
}

/// A wish to stop, seen by all sandboxes within a tenth of a second.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops every sandbox that was given this value.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A payload that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or 128 and the signal's number.
    pub status: i32,
    /// Names of processes that outlived it and were killed.
    pub survivors: Vec<String>,
    /// What was not limited, because this machine does not let this process do so.
    pub unlimited: Vec<&'static str>,
}

/// Runs sandboxes.
#[derive(Debug, Clone)]
pub struct Supervisor {
    init: InitProgram,
    cancel: Cancel,
}

impl Supervisor {
    /// Starts inits by `init`; gives up when `cancel` says so.
    pub fn new(init: InitProgram, cancel: Cancel) -> Self {
        Self { init, cancel }
    }

    /// Runs a sandbox to its end. `log` receives the payload's output; `serve` gets the listener of a stage that may
    /// reach the proxy, and what it returns lives as long as the payload.
    ///
    /// The calling thread has to live as long as the sandbox, and does, because this waits.
    pub fn run<Guard>(
        &self,
        spec: &Spec,
        log: Option<&File>,
        serve: impl FnOnce(TcpListener) -> Result<Guard, SandboxError>,
    ) -> Result<Ended, SandboxError> {
        let groups = Groups::make(&spec.limits);
        let (mut running, transcript) = self.start(spec, log, &groups)?;
        let disk = DiskWatch::new(spec.run_dir.join("upper"), spec.limits.disk);
        let deadline = spec.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let mut watch = Watch { cancel: &self.cancel, deadline, groups: &groups, disk };
        let outcome = converse(&mut running.control, spec, &mut watch, serve);
        if outcome.is_ok() {
            running.reap();
        }
        // Where something else went wrong, init is told to stop here. The log ends with the last process.
        drop(running);
        let said = transcript.map_or(Ok(()), Transcript::finish);
        let ended = watch.judge(outcome)?;
        said.map_err(SandboxError::init("write the log of"))?;
        Ok(ended)
    }

    fn start(
        &self,
        spec: &Spec,
        log: Option<&File>,
        groups: &Groups,
    ) -> Result<(Running, Option<Transcript>), SandboxError> {
        let (control, theirs) = UnixStream::pair().map_err(SandboxError::init("make a socket for"))?;
        let mut command = Command::new(&self.init.program);
        command.args(&self.init.arguments).env_clear().current_dir("/");
        let mut transcript = None;
        if spec.stdio == Stdio::Log {
            command.stdin(StdStdio::null()).stdout(StdStdio::null()).stderr(StdStdio::null());
            if let Some(log) = log {
                transcript = Some(write_to(log, &mut command).map_err(SandboxError::init("give a log to"))?);
            }
        }
        let (fd, entrances) = (theirs.as_raw_fd(), groups.entrances());
        // SAFETY: system calls on descriptors that live until `spawn` has returned.
        unsafe {
            command.pre_exec(move || {
                for entrance in &entrances {
                    rustix::io::write(std::os::fd::BorrowedFd::borrow_raw(*entrance), b"0")?;
                }
                // A copy of itself would keep the flag that closes it.
                if fd == CONTROL_FD {
                    let theirs = std::os::fd::BorrowedFd::borrow_raw(fd);
                    return Ok(rustix::io::fcntl_setfd(theirs, rustix::io::FdFlags::empty())?);
                }
                if libc::dup2(fd, CONTROL_FD) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let child = command.spawn().map_err(SandboxError::init("start"))?;
        Ok((Running { child, control }, transcript))
    }
}

/// Both kinds of output go to the log, in the order in which they come.
fn write_to(log: &File, command: &mut Command) -> io::Result<Transcript> {
    let (transcript, writer) = Transcript::begin(log)?;
    command.stdout(writer.try_clone()?).stderr(writer);
    Ok(transcript)
}

/// Tells init what to do and hears what comes of it.
fn converse<Guard>(
    control: &mut UnixStream,
    spec: &Spec,
    watch: &mut Watch<'_>,
    serve: impl FnOnce(TcpListener) -> Result<Guard, SandboxError>,
) -> Result<Ended, SandboxError> {
    let order = Order { spec: spec.clone(), devices: watch.groups.devices };
    let group = watch.groups.unified().map_err(SandboxError::init("limit"))?;
    match group {
        Some(group) => send_with_fd(control, &order, &group),
        None => send(control, &order),
    }
    .map_err(SandboxError::init("talk to"))?;
    let mut serve = Some(serve);
    let mut _guard = None;
    loop {
        watch.wait_readable(control)?;
        match receive::<Report>(control).map_err(SandboxError::init("hear from"))? {
            Some((Report::Listener, Some(fd))) => {
                _guard = serve.take().map(|serve| serve(TcpListener::from(fd)));
            }
            Some((Report::Listener, None)) => {
                return Err(SandboxError::Setup("no listener came".to_owned()));
            }
            Some((Report::Ended { status, survivors }, _)) => {
                return Ok(Ended { status, survivors, unlimited: watch.groups.unlimited.clone() });
            }
            Some((Report::Failed(reason), _)) => return Err(SandboxError::Setup(reason)),
            None => return Err(SandboxError::Killed),
        }
    }
}

/// What ends a sandbox before its payload is done.
struct Watch<'a> {
    cancel: &'a Cancel,
    deadline: Option<(Instant, Duration)>,
    groups: &'a Groups,
    disk: DiskWatch,
}

impl Watch<'_> {
    /// Waits until init has something to say, in steps that are short enough to notice what is to end it.
    fn wait_readable(&mut self, control: &UnixStream) -> Result<(), SandboxError> {
        loop {
            let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(100_u8)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => self.check()?,
                Ok(_) => return Ok(()),
                Err(e) => return Err(SandboxError::Init { act: "wait for", source: e.into() }),
            }
        }
    }

    fn check(&mut self) -> Result<(), SandboxError> {
        if self.cancel.is_cancelled() {
            return Err(SandboxError::Interrupted);
        }
        if let Some((end, timeout)) = self.deadline
            && Instant::now() >= end
        {
            return Err(SandboxError::TimedOut(timeout));
        }
        if let Some(exceeded) = self.groups.exceeded() {
            return Err(SandboxError::Exceeded(exceeded));
        }
        self.disk.check()
    }

    /// A payload that came up against a limit has failed because of that, whatever it made of it.
    fn judge(&mut self, outcome: Result<Ended, SandboxError>) -> Result<Ended, SandboxError> {
        if let Err(SandboxError::Interrupted | SandboxError::TimedOut(_)) = outcome {
            return outcome;
        }
        if let Some(exceeded) = self.groups.exceeded() {
            return Err(SandboxError::Exceeded(exceeded));
        }
        let ended = outcome?;
        self.disk.count().map(|()| ended)
    }
}

/// An init and the socket to it. Dropped before its end, it is told to stop: init kills the sandbox, waits until the last
/// process is gone, and ends. Killing init itself would leave that to the kernel, a few milliseconds after this returns.
struct Running {
    child: Child,
    control: UnixStream,
}

impl Running {
    /// Waits until the namespaces are gone.
    fn reap(&mut self) {
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An init that has ended does not hear this, and has nothing left to stop.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        self.reap();
    }
}
