//! What the payload may not do, and what costs it nothing.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// Capabilities over the machine as a whole. Package scripts need those over files and processes.
const DROPPED: &[CapabilitySet] = &[
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::SYSLOG,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::BPF,
    CapabilitySet::PERFMON,
];

/// Takes away what nobody in the sandbox needs. Not undone by becoming root again.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for capability in DROPPED {
        match remove_capability_from_bounding_set(*capability) {
            // An older kernel does not know the newest ones.
            Err(rustix::io::Errno::INVAL) | Ok(()) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The same limits wherever a build runs.
pub(super) fn set_resource_limits() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let files = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(524_288);
    setrlimit(Resource::Nofile, Rlimit { current: Some(files.min(1024)), maximum: Some(files) })?;
    Ok(())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The calls that wait for a disk.
const SYNC_CALLS: &[libc::c_long] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
];

/// Makes the calls that wait for a disk succeed at once, by a seccomp filter: what a stage writes is thrown away when the
/// machine crashes, and made durable when its snapshot is published. `sync` would even flush the whole host.
pub(super) fn make_sync_free() -> io::Result<()> {
    let filter = sync_filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program and its filter live through the call, which copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Classic BPF over `struct seccomp_data`: the call's number is at offset 0, the architecture at 4. Calls of another
/// architecture, such as i386, pass.
fn sync_filter() -> Vec<libc::sock_filter> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let give = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let calls = SYNC_CALLS.len() as u8;
    let mut filter = vec![load(4), jump_if(ARCHITECTURE, 0, calls + 1), load(0)];
    for (n, call) in (0_u8..).zip(SYNC_CALLS) {
        filter.push(jump_if(*call as u32, calls - n, 0));
    }
    filter.extend([give(libc::SECCOMP_RET_ALLOW), give(libc::SECCOMP_RET_ERRNO)]);
    filter
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump_if(equal: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: then,
        jf: otherwise,
        k: equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(architecture: u32, call: u32) -> u32 {
        let filter = sync_filter();
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            match u32::from(instruction.code) & 7 {
                libc::BPF_LD => accumulator = if instruction.k == 4 { architecture } else { call },
                libc::BPF_JMP if accumulator == instruction.k => at += usize::from(instruction.jt),
                libc::BPF_JMP => at += usize::from(instruction.jf),
                _ => return instruction.k,
            }
        }
    }

    #[test]
    fn only_sync_calls_of_this_architecture_are_free() {
        for call in SYNC_CALLS {
            assert_eq!(verdict(ARCHITECTURE, *call as u32), libc::SECCOMP_RET_ERRNO);
            assert_eq!(verdict(0x4000_0003, *call as u32), libc::SECCOMP_RET_ALLOW);
        }
        for call in [libc::SYS_write, libc::SYS_execve, libc::SYS_openat] {
            assert_eq!(verdict(ARCHITECTURE, call as u32), libc::SECCOMP_RET_ALLOW);
        }
    }
}
