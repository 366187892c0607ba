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
use super::init::CONTROL_FD;
use super::protocol::{Report, receive, send};
use super::spec::{Spec, Stdio};

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
        let deadline = spec.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let mut running = self.start(spec, log)?;
        send(&mut running.control, spec).map_err(SandboxError::init("talk to"))?;
        let mut serve = Some(serve);
        let mut guard = None;
        let outcome = loop {
            self.wait_readable(&running.control, deadline)?;
            match receive::<Report>(&mut running.control).map_err(SandboxError::init("hear from"))? {
                Some((Report::Listener, Some(fd))) => {
                    guard = serve.take().map(|serve| serve(TcpListener::from(fd)))
                }
                Some((Report::Listener, None)) => {
                    break Err(SandboxError::Setup("no listener came".to_owned()));
                }
                Some((Report::Ended { status, survivors }, _)) => break Ok(Ended { status, survivors }),
                Some((Report::Failed(reason), _)) => break Err(SandboxError::Setup(reason)),
                None => break Err(SandboxError::Killed),
            }
        };
        running.reap();
        drop(guard);
        outcome
    }

    fn start(&self, spec: &Spec, log: Option<&File>) -> Result<Running, SandboxError> {
        let (control, theirs) = UnixStream::pair().map_err(SandboxError::init("make a socket for"))?;
        let mut command = Command::new(&self.init.program);
        command.args(&self.init.arguments).env_clear().current_dir("/");
        if spec.stdio == Stdio::Log {
            let output = || -> io::Result<StdStdio> {
                log.map_or(Ok(StdStdio::null()), |log| Ok(log.try_clone()?.into()))
            };
            command.stdin(StdStdio::null());
            command.stdout(output().map_err(SandboxError::init("give a log to"))?);
            command.stderr(output().map_err(SandboxError::init("give a log to"))?);
        }
        let fd = theirs.as_raw_fd();
        // SAFETY: one system call on a descriptor that lives until `spawn` has returned.
        unsafe {
            command.pre_exec(move || {
                // A copy of itself would keep the flag that closes it.
                if fd == CONTROL_FD {
                    let theirs = std::os::fd::BorrowedFd::borrow_raw(fd);
                    return Ok(rustix::io::fcntl_setfd(theirs, rustix::io::FdFlags::empty())?);
                }
                if libc::dup2(fd, CONTROL_FD) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let child = command.spawn().map_err(SandboxError::init("start"))?;
        Ok(Running { child, control })
    }

    /// Waits until init has something to say, in steps that are short enough to notice a wish to stop.
    fn wait_readable(
        &self,
        control: &UnixStream,
        deadline: Option<(Instant, Duration)>,
    ) -> Result<(), SandboxError> {
        loop {
            let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(100_u8)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(SandboxError::Init { act: "wait for", source: e.into() }),
            }
            if self.cancel.is_cancelled() {
                return Err(SandboxError::Interrupted);
            }
            if let Some((end, timeout)) = deadline
                && Instant::now() >= end
            {
                return Err(SandboxError::TimedOut(timeout));
            }
        }
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
