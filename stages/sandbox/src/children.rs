//! What becomes of the processes that the sandbox's first process has to wait for: its own child, and whatever else loses its
//! parent.

use nix::errno::Errno;
use nix::unistd::Pid;

use super::end::End;

/// What has become of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It ended.
    Ended(End),
    /// It was stopped, and may go on.
    Stopped,
}

/// Waits until something becomes of a process. Not by way of the wrapper of this call in `nix`, for which an end by a real-time
/// signal is an error.
pub(super) fn wait_for_any() -> Result<(Pid, Became), Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WUNTRACED) }) {
            Ok(pid) => return Ok((Pid::from_raw(pid), became(status))),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

fn became(status: libc::c_int) -> Became {
    if libc::WIFSTOPPED(status) {
        Became::Stopped
    } else if libc::WIFSIGNALED(status) {
        Became::Ended(End::Killed(libc::WTERMSIG(status) as u8))
    } else {
        Became::Ended(End::Exited(libc::WEXITSTATUS(status) as u8))
    }
}
