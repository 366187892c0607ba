//! The filter in the payload, and the thread of init that answers what it stops.
//!
//! The payload installs the filter itself, just before it becomes its program, and sends the listener to init: init and its
//! thread make their calls without a filter. When the thread cannot go on, everything that the payload started is killed and
//! the stage fails: calls that nobody answers would fail one by one, and a stage could take that for an answer.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::Pid;

use super::caller::Caller;
use super::filter::filter;
use super::{Answer, Call, Emulation, Programs};
use crate::mounts::{SetupResult, failed};
use crate::own_proc::OwnProc;

nix::ioctl_readwrite!(receive_request, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(send_answer, b'!', 1, libc::seccomp_notif_resp);
nix::ioctl_write_ptr!(is_waiting, b'!', 2, u64);

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` of linux/seccomp.h, which takes its argument as it is.
const SET_FLAGS: libc::c_ulong = nix::request_code_write!(b'!', 4, size_of::<u64>()) as libc::c_ulong;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
const SYNC_WAKE_UP: u64 = 1;

/// The payload's side, which is to be in it when it becomes its program.
pub(crate) struct Entrance {
    filter: Vec<libc::sock_filter>,
    socket: UnixStream,
}

/// Init's side, until the payload has started.
pub(crate) struct Awaited {
    socket: UnixStream,
    proc: OwnedFd,
    emulations: Vec<Box<dyn Emulation>>,
}

/// Init's side while the payload runs.
pub(crate) struct Listening {
    failure: Arc<OnceLock<String>>,
}

/// Both sides of these emulations.
pub(crate) fn prepare(
    emulations: Vec<Box<dyn Emulation>>,
    proc: &OwnProc,
) -> SetupResult<(Entrance, Awaited)> {
    let stops: Vec<_> = emulations.iter().flat_map(|emulation| emulation.stops()).collect();
    let (theirs, ours) = UnixStream::pair().map_err(failed("make a pair of sockets"))?;
    let proc = proc.try_clone().map_err(failed("keep `/proc`"))?;
    Ok((Entrance { filter: filter(&stops), socket: theirs }, Awaited { socket: ours, proc, emulations }))
}

impl Entrance {
    /// Makes the filter that of this process and of all that it starts.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let listener = self.listener()?;
        let (fds, byte) = ([listener.as_raw_fd()], [IoSlice::new(&[0])]);
        let control = [ControlMessage::ScmRights(&fds)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &byte, &control, flags, None)?;
        Ok(())
    }

    fn listener(&self) -> io::Result<OwnedFd> {
        let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // A caller that is being answered is disturbed by deadly signals only. Kernels before 5.19 do not know the flag.
        let undisturbed = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        match self.install(listen | undisturbed) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.install(listen),
            listener => listener,
        }
    }

    fn install(&self, flags: libc::c_ulong) -> io::Result<OwnedFd> {
        let length = u16::try_from(self.filter.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len: length, filter: self.filter.as_ptr().cast_mut() };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the program and its filter live through the call, which copies them.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

impl Awaited {
    /// Answers from now on, if the payload has come as far as to send its listener. To be called when it has become its
    /// program, or has ended without.
    pub(crate) fn listen(self) -> SetupResult<Option<Listening>> {
        let received = receive_listener(&self.socket).map_err(failed("hear from the payload"))?;
        let Some(listener) = received else { return Ok(None) };
        // SAFETY: the request takes a number. A kernel before 6.6 does not know it, and is slower.
        unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        let failure = Arc::new(OnceLock::new());
        let alarm = Alarm { failure: Arc::clone(&failure) };
        let server = Server::new(listener, self.proc, self.emulations);
        let thread = std::thread::Builder::new().name("emulation".to_owned());
        thread.spawn(move || answer_all(server, alarm)).map_err(failed("start a thread"))?;
        Ok(Some(Listening { failure }))
    }
}

fn receive_listener(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; 1]));
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    let fd = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Listening {
    /// Why calls could not be answered any more, if so. The payload was killed then.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}

/// Answers to the end. If that comes too early, the payload ends first and then the listener: calls that nobody answers fail, and
/// a program could go on as if nothing had happened. What comes last among the arguments goes first.
fn answer_all(mut server: Server, alarm: Alarm) {
    if let Err(error) = server.serve() {
        alarm.raise(format!("cannot answer the payload's calls: {error}"));
    }
}

/// Ends the payload if the thread that answers its calls ends before it.
struct Alarm {
    failure: Arc<OnceLock<String>>,
}

impl Alarm {
    fn raise(&self, reason: String) {
        let _ = self.failure.set(reason);
        // Everything that this process may signal: all of the PID namespace but itself.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.raise("the thread that answers the payload's calls is gone".to_owned());
        }
    }
}

struct Server {
    listener: OwnedFd,
    proc: OwnedFd,
    emulations: Vec<Box<dyn Emulation>>,
    /// The place of the emulation of each call.
    answered_by: HashMap<(Programs, u32), usize>,
}

impl Server {
    fn new(listener: OwnedFd, proc: OwnedFd, emulations: Vec<Box<dyn Emulation>>) -> Self {
        let calls = emulations.iter().enumerate().flat_map(|(place, emulation)| {
            emulation.stops().into_iter().map(move |stop| ((stop.programs, stop.call), place))
        });
        let answered_by = calls.collect();
        Self { listener, proc, emulations, answered_by }
    }

    /// Answers until nobody is left who could call.
    fn serve(&mut self) -> io::Result<()> {
        // Root, directory and umask are this thread's own from here on: emulations do things in a caller's place.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        while let Some(request) = self.next()? {
            match self.answer(&request) {
                // One that ends just now is no reason.
                Ok(Answer::Impossible(reason)) if self.still_waits(&request).is_ok() => {
                    return Err(io::Error::other(reason));
                }
                answer => self.send(&request, answer)?,
            }
        }
        Ok(())
    }

    fn next(&self) -> io::Result<Option<libc::seccomp_notif>> {
        loop {
            // SAFETY: all zeros is a valid value of this plain C structure, and what the kernel asks for.
            let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the structure lives through the call.
            match unsafe { receive_request(self.listener.as_raw_fd(), &raw mut request) } {
                Ok(_) => return Ok(Some(request)),
                // A caller that was killed before it could be heard, or no caller at all any more.
                Err(Errno::ENOENT) if self.is_over()? => return Ok(None),
                Err(Errno::EINTR | Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_over(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO)?;
        Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
    }

    fn answer(&mut self, request: &libc::seccomp_notif) -> io::Result<Answer> {
        let caller = Caller::look(&self.proc, request.pid)?;
        // The process might have ended, and another one have its number.
        self.still_waits(request)?;
        let is_of = |programs: &&Programs| programs.audit() == request.data.arch;
        let Some(programs) = Programs::ALL.iter().find(is_of) else { return Ok(Answer::LeaveToKernel) };
        let call = Call {
            programs: *programs,
            number: request.data.nr as u32,
            arguments: programs.arguments(&request.data.args),
            caller: &caller,
        };
        match self.answered_by.get(&(call.programs, call.number)) {
            Some(place) => self.emulations[*place].answer(&call),
            None => Ok(Answer::LeaveToKernel),
        }
    }

    fn still_waits(&self, request: &libc::seccomp_notif) -> io::Result<()> {
        // SAFETY: the number lives through the call.
        unsafe { is_waiting(self.listener.as_raw_fd(), &raw const request.id) }?;
        Ok(())
    }

    fn send(&self, request: &libc::seccomp_notif, answer: io::Result<Answer>) -> io::Result<()> {
        let (val, error, flags) = match answer {
            Ok(Answer::Value(value)) => (value, 0, 0),
            Ok(Answer::LeaveToKernel) => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Ok(Answer::Impossible(_)) => (0, -libc::EPERM, 0),
            Err(error) => (0, -error.raw_os_error().unwrap_or(libc::EPERM), 0),
        };
        let mut answer = libc::seccomp_notif_resp { id: request.id, val, error, flags };
        // SAFETY: the structure lives through the call.
        match unsafe { send_answer(self.listener.as_raw_fd(), &raw mut answer) } {
            // The caller has gone.
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
