//! What a stage's processes start as. Nothing of whoever started ibuild is inherited, but its niceness.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Higher than that of what people work with: a machine that has no memory left is to end the stage first.
const OOM_SCORE: i32 = 500;

/// The kinds of mappings that are in a core by default: core(5).
const DUMPED: &str = "0x33";

const NIS_DOMAIN: &[u8] = b"(none)";

/// Lets go of what the builder's own parent left open. Descriptors from `first` on are closed.
pub(super) fn close_inherited(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

/// Nothing but input and output reaches a payload.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    close_range(3, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: a system call without pointers.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For an init whose payload uses the builder's terminal, which only the group in front may read: moves it from its own group
/// to the builder's. The terminal's signals are for the payload, which gets the default actions back.
pub(super) fn join_builders_group() -> io::Result<()> {
    // SAFETY: system calls without pointers.
    unsafe {
        if libc::signal(libc::SIGINT, libc::SIG_IGN) == libc::SIG_ERR
            || libc::signal(libc::SIGQUIT, libc::SIG_IGN) == libc::SIG_ERR
        {
            return Err(io::Error::last_os_error());
        }
        let group = libc::getpgid(libc::getppid());
        check(group)?;
        check(libc::setpgid(0, group))
    }
}

/// For init, and so for all of its sandbox. To be called in its own namespaces, where `/proc` is still the host's.
pub(super) fn begin() -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(path)?.trim().parse::<i32>().unwrap_or_default();
    if score < OOM_SCORE {
        fs::write(path, OOM_SCORE.to_string())?;
    }
    // A kernel that makes no cores has no such file.
    match fs::write("/proc/self/coredump_filter", DUMPED) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // SAFETY: system calls that read a constant at most.
    unsafe {
        // The kernel took the name of the program's file.
        check(libc::prctl(libc::PR_SET_NAME, c"init".as_ptr()))?;
        // What a debugger or a service manager may have set, and children inherit.
        check(libc::prctl(libc::PR_SET_TIMERSLACK, 50_000 as libc::c_ulong))?;
        check(libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0))?;
        check(libc::setdomainname(NIS_DOMAIN.as_ptr().cast(), NIS_DOMAIN.len()))?;
        // Also with the addresses at random, as on any machine.
        check(libc::personality(0))?;
        // No groups but root's own. Within a user namespace that may be forbidden, and then there are none.
        match check(libc::setgroups(0, std::ptr::null())) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {}
            other => other?,
        }
        check(libc::setresgid(0, 0, 0))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Signals do in a payload what they do by default. Whoever started ibuild may have chosen to ignore some, as `nohup` does.
pub(super) fn reset_signals() {
    const SIGNALS: libc::c_int = 64;
    const SET_SIZE: usize = 8;
    /// The kernel's `struct sigaction`: the default action, no flags, nothing blocked.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=SIGNALS {
        // Not by way of the C library, which keeps two signals to itself. SAFETY: the kernel reads the structure, and
        // refuses for those that cannot be changed.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null::<u64>(), SET_SIZE)
        };
    }
}

/// The same limits wherever a build runs, as far as this process may choose them: soft and hard. A core of at most one byte
/// is none at all; with a limit of 0 the kernel would still hand it to a program of the host, if that is how the host
/// treats cores.
const RLIMITS: &[(Resource, u64, Option<u64>)] = &[
    (Resource::Core, 1, Some(1)),
    (Resource::Nofile, 1024, Some(524_288)),
    (Resource::Stack, 8 << 20, None),
    (Resource::Memlock, 8 << 20, Some(8 << 20)),
    (Resource::Nproc, 16_384, Some(16_384)),
    (Resource::Sigpending, 2048, Some(2048)),
    (Resource::Msgqueue, 819_200, Some(819_200)),
    (Resource::Nice, 0, Some(0)),
    (Resource::Rtprio, 0, Some(0)),
    (Resource::Data, u64::MAX, None),
    (Resource::As, u64::MAX, None),
    (Resource::Rss, u64::MAX, None),
    (Resource::Cpu, u64::MAX, None),
    (Resource::Fsize, u64::MAX, None),
    (Resource::Locks, u64::MAX, None),
];

/// Sets them. None is raised above what ibuild itself was given.
pub(super) fn set_resource_limits() -> io::Result<()> {
    for (resource, soft, hard) in RLIMITS {
        let given = rustix::process::getrlimit(*resource).maximum.unwrap_or(u64::MAX);
        let hard = hard.unwrap_or(u64::MAX).min(given);
        let limit = |value: u64| (value != u64::MAX).then_some(value);
        setrlimit(*resource, Rlimit { current: limit((*soft).min(hard)), maximum: limit(hard) })?;
    }
    Ok(())
}
