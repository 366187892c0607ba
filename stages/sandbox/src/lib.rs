//! Where stages run: own namespaces, an overlay for a root, and nothing of the host.
//!
//! The program that embeds this library is started again as the stage's *init* ([`init_main`]). Single-threaded and
//! with an empty environment it makes the namespaces, mounts and pivots, runs the payload as its child, and reports.
//! Everything hangs on its life: when the builder dies, even by `kill -9`, the kernel kills init, and with it every
//! process of its PID namespace and every mount of its mount namespace. No clean-up code of ours is needed for that.

mod capabilities;
mod cgroup;
mod children;
mod copy;
mod copy_list;
mod devices;
mod disk;
mod emulation;
mod end;
mod error;
mod front;
mod hierarchy;
mod init;
mod inject;
mod limits;
mod log_pipe;
#[expect(
    clippy::disallowed_methods,
    reason = "runs in the stage's init only, a process of its own with one thread"
)]
mod mounts;
mod network;
mod own_proc;
mod process;
mod process_setup;
mod protocol;
mod seccomp;
pub mod secret;
mod spec;
mod starter;
mod supervise;
mod view;
mod visible_machine;

pub use copy_list::{CopyList, ListedFile, ListedKind};
pub use end::End;
pub use error::{InTheWay, SandboxError};
pub use ibuild_cache::Cancel;
pub use init::init_main;
pub use inject::MACHINE_ID_WRITER;
pub use limits::{Exceeded, Limits};
pub use mounts::lower_name;
pub use secret::{Found, KeyedBy, Mask, Scanner, SecretValue, ShownSecret, UnfitSecret};
pub use spec::{HostPaths, OUTPUT_DIR, RunPolicy, SHOWN_DIR, SourcePlace, Spec, Stdio};
pub use starter::InitProgram;
pub use supervise::{Ended, Supervisor};
pub use view::{
    CopyItem, CopySource, Executable, FetchedForm, Inject, InjectedContent, Look, NetworkSpec, Payload,
    ProjectContent, SandboxView, Shown, ShownContent,
};
pub use visible_machine::{Clock, DiskSpace, Kernel, MemorySize, ReaddirOrder, VisibleMachine};

/// The machine id that programs see while a stage runs, if the tree has none. The tree keeps an empty file, which makes
/// systemd choose one at the first boot.
pub const BUILD_MACHINE_ID: &str = "696275696c6400000000000000000000";

/// The host name inside, unless a [`VisibleMachine`] has another.
pub const HOST_NAME: &str = "localhost";

/// The port of the package proxy on the stage's own loopback interface.
pub const PROXY_PORT: u16 = 3142;
