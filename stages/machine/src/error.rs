//! What can go wrong with a machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild_host::tool::ToolError;
use ibuild_spec::Format;

/// An error of this module.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// QEMU is missing or too old.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// There is no BIOS in any of QEMU's directories.
    #[error("QEMU has no BIOS for PCs")]
    NoBios,
    /// There is no UEFI firmware for QEMU.
    #[error("no UEFI firmware for QEMU was found")]
    NoOvmf,
    /// The file system answered an operation with an error.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, as a verb with its object.
        act: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The image is not one that can be started.
    #[error("cannot boot `{}` as {format}: {reason}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What it was said to be.
        format: Format,
        /// Why it cannot be started.
        reason: String,
    },
    /// What was waited for did not appear in time.
    #[error("no line matched `{pattern}` within {} s; the last line was {last:?}", limit.as_secs())]
    Timeout {
        /// The pattern.
        pattern: String,
        /// How long it was waited for.
        limit: Duration,
        /// The last line with anything on it.
        last: String,
    },
    /// The machine ended while something was waited for.
    #[error("the machine ended ({status}) before a line matched `{pattern}`: {stderr}")]
    Ended {
        /// The pattern.
        pattern: String,
        /// How QEMU ended.
        status: String,
        /// The end of QEMU's complaints, if it had any.
        stderr: String,
    },
    /// The machine ended, but not as if it had been switched off.
    #[error("the machine ended ({status}): {stderr}")]
    Crashed {
        /// How QEMU ended.
        status: String,
        /// The end of QEMU's complaints, if it had any.
        stderr: String,
    },
    /// QEMU ended by a fault of its own, which says nothing about the machine that it was.
    #[error("QEMU itself failed ({status}): {stderr}")]
    Emulator {
        /// How it ended.
        status: String,
        /// The end of its complaints, if it had any.
        stderr: String,
    },
    /// A processor of the guest has lost its timer, which no processor does: QEMU lost an interrupt.
    #[error("QEMU itself failed: a processor has lost its timer ({said})")]
    LostTimer {
        /// What the guest said of it.
        said: String,
    },
    /// The machine did not end in time.
    #[error("the machine still ran after {} s", limit.as_secs())]
    StillRunning {
        /// How long it was given.
        limit: Duration,
    },
    /// The sink asked for an end.
    #[error("interrupted while the machine was running")]
    Interrupted,
    /// QEMU's monitor refused a command.
    #[error("QEMU cannot {act}: {reason}")]
    Monitor {
        /// The command.
        act: &'static str,
        /// QEMU's answer.
        reason: String,
    },
}

impl MachineError {
    /// Whether the machine ran and did not do what was expected, as opposed to: could not be run.
    pub fn is_verdict(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Ended { .. } | Self::Crashed { .. } | Self::StillRunning { .. }
        )
    }

    /// Whether it was QEMU that failed. Emulators of more than one processor do now and then, so another try is worthwhile.
    pub fn is_emulator(&self) -> bool {
        matches!(self, Self::Emulator { .. } | Self::LostTimer { .. })
    }

    /// Whether the user gave up.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// What the user can do about it, where something is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            MachineError::Tool(error) => error.hint(),
            MachineError::NoBios => Some("install the package `seabios`".into()),
            MachineError::Emulator { .. } | MachineError::LostTimer { .. } => {
                Some("try once more; a machine with `cpus = 1` avoids most such faults".into())
            }
            MachineError::NoOvmf => Some("install the package `ovmf`, or boot with `--firmware bios`".into()),
            _ => None,
        }
    }

    /// For `map_err`: turns an io error into one that tells the act and the path.
    pub(super) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MachineError {
        let path = path.to_owned();
        move |source| MachineError::Io { act, path, source }
    }
}
