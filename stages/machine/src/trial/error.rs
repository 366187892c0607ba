//! How a trial can fail.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::MachineError;
use ibuild_recipe::{ImageName, MachineName, Plug};

/// Why a trial did not end well.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A machine could not be run, ended, or did not say what it should.
    #[error("machine `{machine}`")]
    Machine {
        /// Which one.
        machine: MachineName,
        /// What happened.
        #[source]
        source: MachineError,
    },
    /// A command failed.
    #[error("`{command}` on `{machine}` exited with status {status}")]
    Command {
        /// Where.
        machine: MachineName,
        /// The text.
        command: String,
        /// Its exit status.
        status: i32,
    },
    /// Nobody could log in.
    #[error("cannot log in to `{machine}` as `{user}`: the console says {last:?}")]
    Login {
        /// Where.
        machine: MachineName,
        /// Who.
        user: String,
        /// The last line of the console.
        last: String,
    },
    /// The time is over.
    #[error("the test was not done after {} s; it waited for {waited_for} on `{machine}`, which said last {last:?}", limit.as_secs())]
    TimeOver {
        /// The time it had.
        limit: Duration,
        /// Where it was.
        machine: MachineName,
        /// What it waited for.
        waited_for: String,
        /// The last line of the console.
        last: String,
    },
    /// Something was sent where nothing should have been.
    #[error("`{plug}` should have been silent and sent {frames} frames, the first of them {first}; all of them are in `{}`", capture.display())]
    NotSilent {
        /// The adapter.
        plug: Plug,
        /// How many.
        frames: usize,
        /// The first, in words.
        first: String,
        /// The recording.
        capture: PathBuf,
    },
    /// Nothing was sent where something should have been.
    #[error("`{0}` should have sent frames and sent none")]
    NotHeard(Plug),
    /// A machine has no such adapter.
    #[error("`{plug}`: the machine has {adapters} network adapters")]
    NoSuchPlug {
        /// What was named.
        plug: Plug,
        /// How many there are.
        adapters: usize,
    },
    /// More adapters on one network than can be connected.
    #[error("{count} adapters are on the network `{network}`")]
    Crowded {
        /// The network's name.
        network: String,
        /// How many.
        count: usize,
    },
    /// An image has no disk to boot from.
    #[error("the image `{0}` has no disk")]
    NoDisk(ImageName),
    /// The file system answered an operation with an error.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl TrialError {
    /// Whether the machines were tried and found wanting, as opposed to: could not be tried.
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Machine { source, .. } => source.is_verdict(),
            Self::Command { .. }
            | Self::Login { .. }
            | Self::TimeOver { .. }
            | Self::NotSilent { .. }
            | Self::NotHeard(_) => true,
            Self::NoSuchPlug { .. } | Self::Crowded { .. } | Self::NoDisk(_) | Self::Io { .. } => false,
        }
    }

    /// Whether it was QEMU that failed: see [`MachineError::is_emulator`].
    pub fn is_emulator(&self) -> bool {
        matches!(self, Self::Machine { source, .. } if source.is_emulator())
    }

    /// Whether the recipe asks for something that there is not.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoSuchPlug { .. } | Self::Crowded { .. } | Self::NoDisk(_))
    }

    /// What can be done about it, where something is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Machine { source, .. } => source.hint(),
            Self::TimeOver { .. } => {
                Some("give the test a longer `timeout`, if the machine was only slow".into())
            }
            Self::Crowded { .. } => {
                Some("a cable has two ends: test two machines of a network at a time".into())
            }
            Self::NoSuchPlug { .. } => Some("adapters are counted from 0, in the order of `nics`".into()),
            _ => None,
        }
    }

    /// For `map_err`: turns an io error into one that tells the act and the path.
    pub(super) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrialError {
        let path = path.to_owned();
        move |source| TrialError::Io { act, path, source }
    }
}
