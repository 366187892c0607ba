//! What root may do in a sandbox: a list, so that a right that a later kernel invents is not there.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Rights over files, users, processes, the stage's own network and its own mounts, which package scripts and tools such as
/// debootstrap need. Beyond what containers commonly have that is `SYS_ADMIN`, to mount, and what does no harm within
/// namespaces. Not among them are, above all, `DAC_READ_SEARCH`, which opens any file of a file system, and `SYS_PTRACE`:
/// without it nobody looks into init, which may do more.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_BROADCAST)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::IPC_OWNER)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Takes away what nobody in the sandbox needs. Not undone by becoming root again.
pub(super) fn drop_rights() -> io::Result<()> {
    for number in 0..u64::BITS {
        // SAFETY: a system call without pointers.
        let dropped = KEPT.bits() >> number & 1 == 1
            || unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } == 0;
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if dropped => {}
            // The kernel knows fewer of them.
            Some(libc::EINVAL) => break,
            _ => return Err(error),
        }
    }
    nothing_inherited()
}

/// What a process passes on by other ways than being root would come back with the next program.
fn nothing_inherited() -> io::Result<()> {
    let CapabilitySets { effective, permitted, .. } = rustix::thread::capabilities(None)?;
    let sets = CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    // SAFETY: a system call without pointers.
    match unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
