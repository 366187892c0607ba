//! Device nodes where nobody can make them.
//!
//! The kernel lets only root of the whole machine make device nodes. In another user namespace a seccomp filter stops the
//! payload's `mknod` of a device, and a thread of init makes a file that stands for it: see `snapshot/device.rs`. Other
//! calls do not even notice the filter.
//!
//! The thread does what the kernel would have done for the caller: it looks from the caller's root and directory, with the
//! caller's umask, and only for a caller that may make devices.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, fsetxattr, major, minor, open, openat, unlinkat,
};

use super::mounts::{SetupResult, failed};
use super::seccomp::{NATIVE_AUDIT, jump, statement};
use ibuild_snapshot::device;

nix::ioctl_readwrite!(receive_request, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(send_answer, b'!', 1, libc::seccomp_notif_resp);
nix::ioctl_write_ptr!(is_waiting, b'!', 2, u64);

/// The calls that make device nodes, and which of their arguments has the file's kind.
const CALLS: &[(libc::c_long, u32)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];

/// From now on, files stand for the devices that this process's children make.
pub(super) fn let_stand_in() -> SetupResult {
    let listener = listen().map_err(failed("watch for device nodes"))?;
    let own_root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let maker = Maker { listener, own_root: own_root.map_err(failed("open the root"))? };
    let thread = std::thread::Builder::new().name("devices".to_owned());
    thread.spawn(move || maker.serve()).map(drop).map_err(failed("start a thread"))
}

fn listen() -> io::Result<OwnedFd> {
    let filter = filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the program and its filter live through the call, which copies them.
    let fd =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Classic BPF over `struct seccomp_data`: the call's number is at offset 0, the architecture at 4, the arguments from 16
/// on, eight bytes each.
fn filter() -> Vec<libc::sock_filter> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let give = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let jump_if = |equal, then, otherwise| jump(libc::BPF_JEQ, equal, then, otherwise);
    let calls = CALLS.len() as u8;
    let mut filter = vec![load(4), jump_if(NATIVE_AUDIT, 0, 3 * calls + 1), load(0)];
    for (n, (call, argument)) in (0_u8..).zip(CALLS) {
        let rest = 3 * (calls - n - 1) + 1;
        filter.push(jump_if(*call as u32, 0, 2));
        filter.push(load(16 + 8 * argument));
        filter.push(statement(libc::BPF_JMP | libc::BPF_JA, rest.into()));
    }
    filter.push(give(libc::SECCOMP_RET_ALLOW));
    filter.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, libc::S_IFMT));
    filter.extend([jump_if(libc::S_IFCHR, 2, 0), jump_if(libc::S_IFBLK, 1, 0)]);
    filter.extend([give(libc::SECCOMP_RET_ALLOW), give(libc::SECCOMP_RET_USER_NOTIF)]);
    filter
}

/// What is to come of a call.
enum Verdict {
    Made,
    /// The kernel may do it, or refuse it, itself.
    LeaveToKernel,
}

struct Maker {
    listener: OwnedFd,
    own_root: OwnedFd,
}

impl Maker {
    /// Answers until init ends, and this thread with it.
    fn serve(self) {
        // The root, the directory and the umask are this thread's own from here on. Without that every request would
        // change init's, so there is no going on; the payload's calls then wait for nobody and fail.
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).is_err() {
            return;
        }
        while let Some(request) = self.next() {
            let verdict = self.make(&request);
            self.answer(&request, verdict);
        }
    }

    fn next(&self) -> Option<libc::seccomp_notif> {
        loop {
            // SAFETY: all zeros is a valid value of this plain C structure, and what the kernel asks for.
            let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the structure lives through the call.
            match unsafe { receive_request(self.listener.as_raw_fd(), &raw mut request) } {
                Ok(_) => return Some(request),
                // A caller that was killed before it could be heard.
                Err(Errno::EINTR | Errno::ENOENT) => {}
                Err(_) => return None,
            }
        }
    }

    fn answer(&self, request: &libc::seccomp_notif, verdict: io::Result<Verdict>) {
        let (error, flags) = match verdict {
            Ok(Verdict::Made) => (0, 0),
            Ok(Verdict::LeaveToKernel) => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Err(error) => (-error.raw_os_error().unwrap_or(libc::EPERM), 0),
        };
        let mut answer = libc::seccomp_notif_resp { id: request.id, val: 0, error, flags };
        // SAFETY: the structure lives through the call. It fails only if the caller has gone.
        let _ = unsafe { send_answer(self.listener.as_raw_fd(), &raw mut answer) };
    }

    fn make(&self, request: &libc::seccomp_notif) -> io::Result<Verdict> {
        let call = Call::of(request);
        if call.device == 0 {
            return Ok(Verdict::LeaveToKernel);
        }
        let caller = Caller::look(&self.own_root, request.pid)?;
        let path = caller.text(call.path)?;
        let (root, base) = (caller.open("root")?, caller.base(call.directory)?);
        // The process might have ended, and another one have its number.
        // SAFETY: the number lives through the call.
        unsafe { is_waiting(self.listener.as_raw_fd(), &raw const request.id) }?;
        let made = caller.in_its_place(&root, &base, || stand_in(&path, &call));
        rustix::process::fchdir(&self.own_root)?;
        rustix::process::chroot(".")?;
        made.map(|()| Verdict::Made)
    }
}

/// `mknod`, as it was called.
struct Call {
    directory: RawFd,
    path: u64,
    mode: u32,
    device: u64,
}

impl Call {
    /// The kernel takes the lower half of what is narrower than a register.
    fn of(request: &libc::seccomp_notif) -> Self {
        let [first, second, third, fourth, ..] = request.data.args;
        let is_at = libc::c_long::from(request.data.nr) == libc::SYS_mknodat;
        let (directory, path, mode, device) = if is_at {
            (first as RawFd, second, third, fourth)
        } else {
            (libc::AT_FDCWD, first, second, third)
        };
        Self { directory, path, mode: mode as u32, device: u64::from(device as u32) }
    }
}

/// Makes the file that stands for the device. The path is the caller's, and so is the place that it starts from.
fn stand_in(path: &[u8], call: &Call) -> io::Result<()> {
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

/// The process that called.
struct Caller {
    /// Its directory in `/proc`.
    proc: OwnedFd,
    umask: Mode,
}

impl Caller {
    /// Refuses those that could not make a device node as root of the machine either.
    fn look(root: &OwnedFd, pid: u32) -> io::Result<Self> {
        let proc = openat(root, format!("proc/{pid}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let status = openat(&proc, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let status = io::read_to_string(File::from(status))?;
        let umask = makes_devices(&status).ok_or(Errno::EPERM)?;
        Ok(Self { proc, umask: Mode::from(umask) })
    }

    fn open(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(&self.proc, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Where its relative paths start.
    fn base(&self, directory: RawFd) -> io::Result<OwnedFd> {
        match directory {
            libc::AT_FDCWD => self.open("cwd"),
            fd => self.open(&format!("fd/{fd}")),
        }
    }

    /// The text at an address, up to its zero.
    fn text(&self, mut address: u64) -> io::Result<Vec<u8>> {
        let memory = File::from(openat(&self.proc, "mem", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
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

    /// Does something as this process would see it. This thread stays there.
    fn in_its_place<T>(
        &self,
        root: &OwnedFd,
        base: &OwnedFd,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        rustix::process::fchdir(root)?;
        rustix::process::chroot(".")?;
        // A descriptor of a file is no place to start from, and need not be for an absolute path.
        let _ = rustix::process::fchdir(base);
        rustix::process::umask(self.umask);
        act()
    }
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

    /// Runs the filter as the kernel would.
    fn verdict(architecture: u32, call: libc::c_long, arguments: [u32; 4]) -> u32 {
        let filter = filter();
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            match u32::from(instruction.code) {
                code if code & 7 == libc::BPF_LD => {
                    accumulator = match instruction.k {
                        0 => call as u32,
                        4 => architecture,
                        offset => arguments[(offset as usize - 16) / 8],
                    }
                }
                code if code & 7 == libc::BPF_ALU => accumulator &= instruction.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += instruction.k as usize,
                code if code & 7 == libc::BPF_JMP => {
                    let is_equal = accumulator == instruction.k;
                    at += usize::from(if is_equal { instruction.jt } else { instruction.jf });
                }
                _ => return instruction.k,
            }
        }
    }

    #[test]
    fn only_device_nodes_are_stopped() {
        let (allow, stop) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF);
        for (kind, expected) in
            [(libc::S_IFCHR, stop), (libc::S_IFBLK, stop), (libc::S_IFIFO, allow), (libc::S_IFREG, allow)]
        {
            let mode = kind | 0o660;
            for (call, argument) in CALLS {
                let mut arguments = [libc::S_IFCHR; 4];
                arguments[*argument as usize] = mode;
                assert_eq!(verdict(NATIVE_AUDIT, *call, arguments), expected, "{call} {mode:o}");
                assert_eq!(verdict(0x4000_0003, *call, arguments), allow);
            }
        }
        for call in [libc::SYS_write, libc::SYS_openat, libc::SYS_execve, libc::SYS_mkdirat] {
            assert_eq!(verdict(NATIVE_AUDIT, call, [libc::S_IFCHR; 4]), allow);
        }
    }

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
