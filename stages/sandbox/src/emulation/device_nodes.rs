//! Device nodes where nobody can make them.
//!
//! The kernel lets only root of the whole machine make device nodes. In another user namespace a seccomp filter stops the
//! payload's `mknod` of a device, and init makes a file that stands for it: see `snapshot/device.rs`.
//!
//! It does what the kernel would have done for the caller: it looks from the caller's root and directory, with the
//! caller's umask, and only for a caller that may make devices.

use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, fsetxattr, major, minor, open, unlinkat};

use super::place::OwnRoot;
use super::{Answer, Call, Emulation, Programs, Stop, When};
use crate::mounts::SetupResult;
use ibuild_snapshot::device;

/// The calls that make device nodes, and which of their arguments has the file's kind.
const CALLS: &[(libc::c_long, u32)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];

/// Makes files that stand for devices.
pub(crate) struct DeviceNodes {
    own_root: OwnRoot,
}

impl DeviceNodes {
    /// For a process that is in the root of the payload already.
    pub(crate) fn new() -> SetupResult<Self> {
        Ok(Self { own_root: OwnRoot::new()? })
    }
}

impl Emulation for DeviceNodes {
    fn stops(&self) -> Vec<Stop> {
        let stop = |(call, mode): &(libc::c_long, u32)| Stop {
            programs: Programs::Native,
            call: *call as u32,
            when: When::MakesDevice(*mode),
        };
        CALLS.iter().map(stop).collect()
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let mknod = Mknod::of(call);
        if mknod.device == 0 {
            return Ok(Answer::LeaveToKernel);
        }
        // Those who could not make a device node as root of the machine either are refused.
        let umask = makes_devices(&call.caller.text("status")?).ok_or(Errno::EPERM)?;
        let path = call.caller.c_string(mknod.path)?;
        let base = call.caller.base(mknod.directory)?;
        self.own_root.act_at(call.caller, &base, || {
            // Of this thread, which makes nothing else.
            rustix::process::umask(Mode::from(umask));
            stand_in(&path, &mknod)
        })?;
        Ok(Answer::Value(0))
    }
}

/// `mknod`, as it was called.
struct Mknod {
    directory: RawFd,
    path: u64,
    mode: u32,
    device: u64,
}

impl Mknod {
    /// The kernel takes the lower half of what is narrower than a register.
    fn of(call: &Call<'_>) -> Self {
        let [first, second, third, fourth, ..] = call.arguments;
        let is_at = call.number == libc::SYS_mknodat as u32;
        let (directory, path, mode, device) = if is_at {
            (first as RawFd, second, third, fourth)
        } else {
            (libc::AT_FDCWD, first, second, third)
        };
        Self { directory, path, mode: mode as u32, device: u64::from(device as u32) }
    }
}

/// Makes the file that stands for the device. The path is the caller's, and so is the place that it starts from.
fn stand_in(path: &[u8], call: &Mknod) -> io::Result<()> {
    let kind = FileType::from_raw_mode(call.mode);
    let value = device::encode(kind, major(call.device), minor(call.device));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::from(call.mode & 0o7777))?;
    fsetxattr(&file, device::ATTRIBUTE, &value, XattrFlags::CREATE).map_err(|error| {
        // A file system without attributes has no devices either.
        let _ = unlinkat(rustix::fs::CWD, path, AtFlags::empty());
        error.into()
    })
}

/// The umask of a process that could make devices: one that acts as root, for files too, and has the capability.
fn makes_devices(status: &str) -> Option<u32> {
    const CAP_MKNOD: u32 = 27;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let acts_as_root = |name| field(name).and_then(|ids| ids.split_whitespace().last()) == Some("0");
    let capabilities = u64::from_str_radix(field("CapEff:")?, 16).ok()?;
    let may = capabilities >> CAP_MKNOD & 1 == 1 && acts_as_root("Uid:") && acts_as_root("Gid:");
    may.then_some(u32::from_str_radix(field("Umask:")?, 8).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_makes_devices() {
        let status = |uid: &str, caps: &str| {
            format!("Name:\tsh\nUmask:\t0027\nUid:\t{uid}\nGid:\t0\t0\t0\t0\nCapEff:\t{caps}\n")
        };
        let may = |uid, caps| makes_devices(&status(uid, caps));
        assert_eq!(may("0\t0\t0\t0", "000001ffffffffff"), Some(0o27));
        assert_eq!(may("0\t0\t0\t0", "000001fff7ffffff"), None);
        assert_eq!(may("0\t0\t0\t42", "000001ffffffffff"), None);
        assert_eq!(makes_devices(""), None);
    }
}
