//! Ordinary users: a user namespace in which they are root, with ids of their own for everybody else.
//!
//! Inside, owners, capabilities of files and access lists read as they do for root, so a stage makes the same tree and the
//! same layers. Three things are different, and only where files are stored and mounted: overlays keep their marks in
//! `user.overlay.*` (`snapshot/xattr.rs`), device nodes are files that stand for them (`snapshot/device.rs`), and ids end
//! where the user's range does.

mod enter;
mod error;
mod host;
mod plan;
mod probe;
mod subid;

use std::io;
use std::path::Path;
use std::sync::OnceLock;

pub use enter::enter;
pub use error::UserNamespaceError;
pub use host::{MapTools, Obstacle};
pub use plan::MappingPlan;
pub use probe::probe_overlay;
pub use subid::SubidRange;

/// Whether this process is in the user namespace that the machine was started with. Root of any other one, an ordinary
/// user or a container, can neither make device nodes nor set `trusted.*` attributes.
pub fn is_initial() -> bool {
    // The number is part of the kernel's interface: PROC_USER_INIT_INO in include/linux/proc_ns.h.
    const INITIAL: &str = "user:[4026531837]";
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        // A kernel that knows no namespaces has only this one.
        std::fs::read_link("/proc/self/ns/user").map_or(true, |link| link == Path::new(INITIAL))
    })
}

/// Says in words why a file cannot be given to an owner that is outside the ids of a user namespace.
pub fn explain_owner(error: impl Into<io::Error>, uid: u32, gid: u32) -> io::Error {
    let error = error.into();
    if error.kind() != io::ErrorKind::InvalidInput || is_initial() {
        return error;
    }
    io::Error::other(format!(
        "the owner {uid}:{gid} is beyond the ids that `/etc/subuid` and `/etc/subgid` give this user; root has all of them"
    ))
}
