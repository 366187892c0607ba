//! Exit statuses for scripts.

use std::process::ExitCode;

use ibuild::ErrorKind;

/// Exit statuses. Scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A stage, check, test or verification failed.
    Failed = 1,
    /// The command line or the recipe is wrong.
    Usage = 2,
    /// Something outside failed: mirror, disk, permission, tool.
    Environment = 3,
    /// The lock does not match.
    Locked = 4,
    /// ibuild is wrong.
    Bug = 70,
    /// The user gave up.
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl Status {
    /// The status of a command that ends with an error.
    pub fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Environment => Self::Environment,
            ErrorKind::Locked => Self::Locked,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Bug => Self::Bug,
        }
    }
}
