//! What the builder and the stage's init say to each other, over a pair of sockets that is also the lifeline: it ends when
//! either of them does.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cgroup::DeviceFilter;
use super::end::End;
use super::error::InTheWay;
use super::front::Front;
use super::spec::Spec;

/// Three for input and output, and one for each of the few hierarchies of control groups.
const MOST_FDS: usize = 16;

/// From the builder to init: all that it is ever told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The sandbox.
    pub(super) spec: Spec,
    /// Whether something keeps the payload from opening devices. If nothing does, none can be opened on its disk.
    pub(super) devices: DeviceFilter,
    /// Who is in front of the terminal while the payload runs.
    pub(super) front: Front,
    /// What the descriptors are for that come with this, in their order.
    pub(super) given: Vec<Given>,
    /// The secrets whose bytes come after this, in their order.
    pub(super) secrets: Vec<SecretFile>,
}

/// A secret on its way to init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SecretFile {
    /// Its name.
    pub(super) name: String,
    /// The number of its bytes.
    pub(super) length: usize,
}

/// What a descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Given {
    /// The payload's standard input, which is nothing otherwise.
    Input,
    /// Its standard output.
    Output,
    /// Its standard error.
    Error,
    /// A file to which a thread writes `0` in order to be in a control group of version 1.
    Entrance,
    /// The control group of version 2 that the payload starts in.
    Group,
}

/// From init to the builder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The listener for the package proxy comes with this message.
    Listener,
    /// The payload ran to its end.
    Ended {
        /// How.
        end: End,
        /// Names of processes that outlived the payload and were killed.
        survivors: Vec<String>,
    },
    /// A file of the project, named by its path below what is copied, no longer has the bytes that it was to have.
    SourceChanged(String),
    /// Something of the image is where a copy is to put something else.
    InTheWay(InTheWay),
    /// A fetched archive cannot be unpacked.
    NotUnpacked(String),
    /// The payload could not be started, for a reason that lies in the image.
    NotStarted(String),
    /// The sandbox could not be set up.
    Failed(String),
}

/// Sends one value: its length, then JSON.
pub(super) fn send(socket: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    socket.write_all(&frame(value)?)
}

fn frame(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// Sends a value together with descriptors, [`MOST_FDS`] at most.
pub(super) fn send_with_fds(
    socket: &UnixStream,
    value: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let frame = frame(value)?;
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&fds)];
    let sent = sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(&frame)],
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives a value, and the descriptors that come with it; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: &mut UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut head = [0; 4];
    let mut space = nix::cmsg_space!([RawFd; MOST_FDS]);
    let fds = {
        let mut buffers = [IoSliceMut::new(&mut head)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_WAITALL;
        let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
        if message.bytes == 0 {
            return Ok(None);
        }
        received_fds(message.cmsgs()?)
    };
    let mut json = vec![0; u32::from_le_bytes(head) as usize];
    socket.read_exact(&mut json)?;
    Ok(Some((serde_json::from_slice(&json)?, fds)))
}

/// Receives bytes that are no message.
pub(super) fn receive_bytes(socket: &mut UnixStream, length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn received_fds(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let mut received = Vec::new();
    for message in messages {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: the kernel has just made these descriptors for us and nobody else knows their numbers.
            received.extend(fds.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn values_and_descriptors_arrive() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send_with_fds(&a, &Report::Listener, &[listener.as_fd(), a.as_fd()]).unwrap();
        send(&mut a, &Report::Failed("x".repeat(100_000))).unwrap();
        drop(a);
        let (report, mut fds) = receive::<Report>(&mut b).unwrap().unwrap();
        assert!(matches!(report, Report::Listener));
        assert_eq!(fds.len(), 2);
        assert_eq!(std::net::TcpListener::from(fds.remove(0)).local_addr().unwrap(), address);
        drop(fds);
        let Some((Report::Failed(text), fds)) = receive(&mut b).unwrap() else { panic!("no report") };
        assert_eq!((text.len(), fds.len()), (100_000, 0));
        assert!(receive::<Report>(&mut b).unwrap().is_none());
    }
}
