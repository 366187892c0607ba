//! System calls that a payload may not make, and those that cost it nothing: one seccomp filter.
//!
//! Root in a sandbox is the host's root without some rights. What is refused here reaches past the sandbox all the same:
//! it acts on the kernel, on a whole file system or on what no namespace separates.

use std::io;

/// Makes the filter that of the calling process and of all that it starts.
pub(super) fn filter_calls() -> io::Result<()> {
    let filter = filter();
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program and its filter live through the call, which copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What is done about a call.
#[derive(Clone, Copy)]
enum Answer {
    /// It waits for a disk. What a stage writes is thrown away when the machine crashes, and made durable when its
    /// snapshot is published; `sync` would even flush the whole host. So it succeeds at once.
    Done,
    /// As a kernel answers that has no such call: programs know what to do instead.
    Unknown,
    /// The right to it is missing.
    Denied,
}

impl Answer {
    fn errno(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Unknown => libc::ENOSYS as u32,
            Self::Denied => libc::EPERM as u32,
        }
    }
}

/// The numbers of one kind of programs.
struct Abi {
    /// How the kernel names it to a filter.
    audit: u32,
    calls: &'static [(u32, Answer)],
    ioctl: u32,
    mount: u32,
    socket: u32,
    /// Numbers from here on belong to another kind of programs (x32) under the same name.
    end: u32,
}

macro_rules! native {
    ($($answer:ident: $($call:ident)*;)*) => { &[$($((libc::$call as u32, Answer::$answer),)*)*] };
}

/// Keyrings are shared by all processes of a user number. `io_uring` makes calls past the filter. `fanotify` and file
/// handles give out any file of a file system of which one directory can be seen, `fspick` changes all of it.
const NATIVE: Abi = Abi {
    #[cfg(target_arch = "x86_64")]
    audit: 0xc000_003e,
    #[cfg(target_arch = "aarch64")]
    audit: 0xc000_00b7,
    calls: native! {
        Done: SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_msync;
        Unknown: SYS_add_key SYS_request_key SYS_keyctl SYS_bpf SYS_perf_event_open SYS_userfaultfd
            SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_fanotify_init SYS_fspick;
        Denied: SYS_open_by_handle_at SYS_kexec_load SYS_kexec_file_load SYS_init_module SYS_finit_module
            SYS_delete_module SYS_swapon SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_acct SYS_syslog SYS_reboot;
    },
    ioctl: libc::SYS_ioctl as u32,
    mount: libc::SYS_mount as u32,
    socket: libc::SYS_socket as u32,
    end: 0x4000_0000,
};

/// How the kernel names programs of its own kind to a filter.
pub(super) const NATIVE_AUDIT: u32 = NATIVE.audit;

/// How it names programs of i386.
#[cfg(target_arch = "x86_64")]
pub(super) const I386_AUDIT: u32 = I386.audit;

/// Programs of i386 run on a kernel for amd64, and images may have them. In the order of [`NATIVE`]; the numbers are those
/// of the kernel's `syscall_32.tbl`. Its older way to a socket, `socketcall`, keeps the family out of a filter's sight.
#[cfg(target_arch = "x86_64")]
const I386: Abi = {
    use Answer::{Denied, Done, Unknown};
    Abi {
        audit: 0x4000_0003,
        calls: &[
            (118, Done),
            (148, Done),
            (36, Done),
            (344, Done),
            (314, Done),
            (144, Done),
            (286, Unknown),
            (287, Unknown),
            (288, Unknown),
            (357, Unknown),
            (336, Unknown),
            (374, Unknown),
            (425, Unknown),
            (426, Unknown),
            (427, Unknown),
            (338, Unknown),
            (433, Unknown),
            (342, Denied),
            (283, Denied),
            (128, Denied),
            (350, Denied),
            (129, Denied),
            (87, Denied),
            (115, Denied),
            (131, Denied),
            (443, Denied),
            (51, Denied),
            (103, Denied),
            (88, Denied),
        ],
        ioctl: 54,
        mount: 21,
        socket: 359,
        end: 0x4000_0000,
    }
};

#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[NATIVE, I386];
#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] = &[NATIVE];

/// Requests to a terminal that put words into the mouth of whoever sits at it, and to a file system that stop it, shut it
/// down or trim it: `TIOCSTI`, `TIOCLINUX`, `FIFREEZE`, `FITHAW`, `FITRIM`, `FS_IOC_SHUTDOWN`.
const REFUSED_REQUESTS: &[u32] = &[0x5412, 0x541c, 0xc004_5877, 0xc004_5878, 0xc018_5879, 0x8004_587d];

/// Families of sockets that no network namespace confines: `AF_VSOCK` reaches the host of a virtual machine, `AF_QIPCRTR`
/// its devices.
const REFUSED_FAMILIES: &[u32] = &[40, 42];

/// Offsets in `struct seccomp_data`. Of the arguments, the lower halves on a little-endian machine: all that the kernel
/// looks at in those that are judged here.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
pub(super) const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

/// Classic BPF. Of each kind of programs that is known some calls are answered here; of any other, all are unknown.
fn filter() -> Vec<libc::sock_filter> {
    let mut filter = vec![load(ARCHITECTURE)];
    for abi in ABIS {
        let block = calls_of(abi);
        filter.push(jump(libc::BPF_JEQ, abi.audit, 1, 0));
        filter.push(statement(libc::BPF_JMP | libc::BPF_JA, block.len() as u32));
        filter.extend(block);
    }
    filter.push(answer(Answer::Unknown.errno()));
    filter
}

fn calls_of(abi: &Abi) -> Vec<libc::sock_filter> {
    let mut block = vec![load(NUMBER), jump(libc::BPF_JGE, abi.end, 0, 1), answer(Answer::Unknown.errno())];
    for (call, how) in abi.calls {
        block.extend(unless_other(*call, &[answer(how.errno())]));
    }
    block.extend(unless_other(abi.ioctl, &refuse_values(1, REFUSED_REQUESTS, libc::EPERM)));
    block.extend(unless_other(abi.socket, &refuse_values(0, REFUSED_FAMILIES, libc::EAFNOSUPPORT)));
    block.extend(unless_other(abi.mount, &refuse_remount()));
    block.push(allow());
    block
}

/// A mount may be changed, such as to be read-only; the file system below it, which may be the host's, may not.
fn refuse_remount() -> [libc::sock_filter; 5] {
    [
        load(argument(3)),
        jump(libc::BPF_JSET, libc::MS_REMOUNT as u32, 0, 2),
        jump(libc::BPF_JSET, libc::MS_BIND as u32, 1, 0),
        answer(libc::EPERM as u32),
        allow(),
    ]
}

fn refuse_values(place: u32, values: &[u32], errno: i32) -> Vec<libc::sock_filter> {
    let mut steps = vec![load(argument(place))];
    for value in values {
        steps.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(errno as u32)]);
    }
    steps.push(allow());
    steps
}

/// `steps` for this call, whose number has been loaded; other calls go on behind them.
pub(super) fn unless_other(call: u32, steps: &[libc::sock_filter]) -> Vec<libc::sock_filter> {
    let length = u8::try_from(steps.len()).expect("a call has few steps");
    let first = std::iter::once(jump(libc::BPF_JEQ, call, 0, length));
    first.chain(steps.iter().copied()).collect()
}

pub(super) fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

pub(super) fn allow() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

/// An error number, or success if it is 0.
fn answer(errno: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno)
}

pub(super) fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

pub(super) fn jump(test: u32, k: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt: then, jf: otherwise, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(audit: u32, call: u32, arguments: [u32; 6]) -> u32 {
        let filter = filter();
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            let (code, k) = (u32::from(instruction.code), instruction.k);
            let holds = match code & 0xf0 {
                libc::BPF_JEQ => accumulator == k,
                libc::BPF_JGE => accumulator >= k,
                libc::BPF_JSET => accumulator & k != 0,
                _ => false,
            };
            match code & 7 {
                libc::BPF_LD if k == ARCHITECTURE => accumulator = audit,
                libc::BPF_LD if k == NUMBER => accumulator = call,
                libc::BPF_LD => accumulator = arguments[(k as usize - 16) / 8],
                libc::BPF_JMP if code & 0xf0 == libc::BPF_JA => at += k as usize,
                libc::BPF_JMP => at += usize::from(if holds { instruction.jt } else { instruction.jf }),
                _ => return k,
            }
        }
    }

    #[track_caller]
    fn check(audit: u32, call: u32, arguments: [u32; 6], errno: Option<i32>) {
        let expected = errno.map_or(libc::SECCOMP_RET_ALLOW, |e| libc::SECCOMP_RET_ERRNO | e as u32);
        assert_eq!(verdict(audit, call, arguments), expected, "call {call} of {audit:x}");
    }

    #[test]
    fn each_call_has_its_answer() {
        for abi in ABIS {
            for (call, how) in abi.calls {
                check(abi.audit, *call, [0; 6], Some(how.errno() as i32));
            }
            check(abi.audit, abi.end, [0; 6], Some(libc::ENOSYS));
            check(abi.audit, abi.ioctl, [0, 0x5401, 0, 0, 0, 0], None);
            check(abi.audit, abi.ioctl, [0, 0x5412, 0, 0, 0, 0], Some(libc::EPERM));
            check(abi.audit, abi.socket, [1, 40, 40, 0, 0, 0], None);
            check(abi.audit, abi.socket, [40, 0, 0, 0, 0, 0], Some(libc::EAFNOSUPPORT));
        }
        for call in [libc::SYS_write, libc::SYS_execve, libc::SYS_openat, libc::SYS_clone3] {
            check(NATIVE.audit, call as u32, [0x5412; 6], None);
        }
    }

    #[test]
    fn only_what_is_below_a_mount_stays_as_it_is() {
        let (remount, bind) = (libc::MS_REMOUNT as u32, libc::MS_BIND as u32);
        for abi in ABIS {
            let mount = |flags, errno| check(abi.audit, abi.mount, [0, 0, 0, flags, 0, 0], errno);
            mount(0, None);
            mount(bind, None);
            mount(remount | bind | 1, None);
            mount(remount | 1, Some(libc::EPERM));
        }
    }

    #[test]
    fn programs_of_another_kind_do_not_run() {
        check(0x4000_0028, 4, [0; 6], Some(libc::ENOSYS));
    }
}
