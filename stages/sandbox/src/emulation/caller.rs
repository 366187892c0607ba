//! The thread whose call was stopped: its memory and its place, for as long as it waits.

use std::fs::File;
#[cfg(target_arch = "x86_64")]
use std::io::IoSliceMut;
use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
#[cfg(target_arch = "x86_64")]
use nix::sys::uio::process_vm_readv;
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// A thread. Everything is reached by way of its directory in `/proc`, which never is another thread's: whoever finds the
/// call still waiting after [`Caller::look`] has the right one.
pub(crate) struct Caller {
    id: u32,
    proc: OwnedFd,
}

impl Caller {
    /// The thread with this number, in a `/proc` of this process's own namespace.
    pub(super) fn look(proc: &OwnedFd, id: u32) -> io::Result<Self> {
        let proc = openat(proc, id.to_string(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { id, proc })
    }

    /// A handle of a file in its directory in `/proc`, or of what a link there leads to.
    pub(super) fn open(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(&self.proc, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Where its relative paths start.
    pub(super) fn base(&self, directory: RawFd) -> io::Result<OwnedFd> {
        match directory {
            libc::AT_FDCWD => self.open("cwd"),
            fd => self.open(&format!("fd/{fd}")),
        }
    }

    /// The text of a file in its directory in `/proc`.
    pub(super) fn text(&self, name: &str) -> io::Result<String> {
        io::read_to_string(self.file(name, OFlags::RDONLY)?)
    }

    /// A file in its directory in `/proc`.
    pub(super) fn file(&self, name: &str, access: OFlags) -> io::Result<File> {
        Ok(openat(&self.proc, name, access | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// A copy of a descriptor of its, which shares the offset. `None` if it has none of this number.
    pub(super) fn descriptor(&self, fd: RawFd) -> io::Result<Option<OwnedFd>> {
        let process = self.process()?;
        // As long as the thread is there, its number is nobody else's.
        self.text("comm")?;
        match pidfd_getfd(process, fd, PidfdGetfdFlags::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(rustix::io::Errno::BADF) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A handle of the thread, or before 6.9 of its process, which has the same descriptors but for a thread that wanted its own.
    fn process(&self) -> io::Result<OwnedFd> {
        /// `PIDFD_THREAD` of linux/pidfd.h.
        const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
        let open = |id, flags| pidfd_open(Pid::from_raw(id).ok_or(rustix::io::Errno::SRCH)?, flags);
        match open(self.id as i32, THREAD) {
            Err(rustix::io::Errno::INVAL) => {
                let status = self.text("status")?;
                let id = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
                Ok(open(id.ok_or(Errno::ESRCH)?, PidfdFlags::empty())?)
            }
            thread => Ok(thread?),
        }
    }

    /// Writes into its memory, as the kernel does when it answers. By its number, which nobody else has got since it was looked
    /// at: numbers are given out in a circle.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let there = RemoteIoVec { base: address as usize, len: bytes.len() };
        let written = process_vm_writev(self.number(), &[IoSlice::new(bytes)], &[there]);
        if written == Ok(bytes.len()) { Ok(()) } else { Err(Errno::EFAULT.into()) }
    }

    /// Reads from its memory.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (there, length) = (RemoteIoVec { base: address as usize, len: bytes.len() }, bytes.len());
        let read = process_vm_readv(self.number(), &mut [IoSliceMut::new(bytes)], &[there]);
        if read == Ok(length) { Ok(()) } else { Err(Errno::EFAULT.into()) }
    }

    fn number(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.id as i32)
    }

    /// The bytes at an address, up to a zero.
    pub(super) fn c_string(&self, mut address: u64) -> io::Result<Vec<u8>> {
        let memory = self.file("mem", OFlags::RDONLY)?;
        let mut text = Vec::new();
        while text.len() < libc::PATH_MAX as usize {
            // Not beyond a page: the next one may not be there.
            let mut part = vec![0; 4096 - (address % 4096) as usize];
            let length = memory.read_at(&mut part, address).map_err(|_| Errno::EFAULT)?;
            if let Some(end) = part[..length].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&part[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&part[..length]);
            address += length.max(1) as u64;
        }
        Err(Errno::ENAMETOOLONG.into())
    }
}
