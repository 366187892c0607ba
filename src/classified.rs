//! The kinds of errors, and what the user can do about each.

use std::io;

use ibuild_cache::CacheError;
use ibuild_graph::BuildError;
use ibuild_stages::exchange::{ExportError, ImportError};
use ibuild_stages::host::tool::ToolError;
use ibuild_stages::host::userns::UserNamespaceError;
use ibuild_stages::machine::MachineError;
use ibuild_stages::machine::trial::TrialError;
use ibuild_stages::packages::PackageError;
use ibuild_stages::recipe::ignore::IgnoreError;
use ibuild_stages::recipe::{FindStageError, RecipeErrors};
use ibuild_stages::{InsideError, MountError, ShellError, StageError, TargetError};

use crate::error::{Classified, ErrorKind};

impl Classified for io::Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }
}

impl Classified for nix::Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }
}

/// Of what was written by ibuild itself.
impl Classified for serde_json::Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Bug
    }
}

impl Classified for CacheError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Index { .. } => {
                "`ibuild cache fsck` puts a broken index aside and begins a new one".to_owned()
            }
            Self::Foreign { .. } => {
                "`--cache-dir DIR` names another one; root and other users each need their own".to_owned()
            }
            Self::Format { found, .. } if found.parse::<u32>().is_ok() => {
                "`--cache-dir DIR` names another store; one that is removed is made anew".to_owned()
            }
            Self::Format { path, expected, .. } => format!(
                "`echo {expected} > {}/format` says again what it is, `ibuild cache fsck` then what else is damaged; or \
                 remove the store, and it is made anew",
                path.display()
            ),
            Self::Io { .. } | Self::WrongDigest { .. } => return Vec::new(),
        };
        vec![hint]
    }
}

impl Classified for BuildError<StageError> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stage { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
            Self::Panicked { .. } => ErrorKind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Stage { stage, source } => {
                let mut hints = source.hints();
                if source.transcript().is_some() {
                    hints.push(format!("`ibuild shell --failed {stage}` opens a shell in what it had made"));
                }
                hints
            }
            Self::Store(error) => error.hints(),
            Self::Panicked { .. } => Vec::new(),
        }
    }
}

impl Classified for StageError {
    fn kind(&self) -> ErrorKind {
        match self {
            error if error.is_interrupt() => ErrorKind::Interrupted,
            Self::NotLocked { .. } | Self::LockDrift { .. } | Self::NotObserved { .. } => ErrorKind::Locked,
            Self::Special(_) | Self::MissingSecrets(_) => ErrorKind::Usage,
            Self::Ignore(error) => error.kind(),
            Self::Failed { .. }
            | Self::NothingToCopy { .. }
            | Self::Leaked { .. }
            | Self::InputsChanged(_) => ErrorKind::Failed,
            Self::Sandbox { .. } | Self::Snapshot(_) if !self.is_environment() => ErrorKind::Failed,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Sandbox { .. }
            | Self::Snapshot(_)
            | Self::DiskFull { .. }
            | Self::DamagedArtifact(_)
            | Self::Io { .. }
            | Self::Archive { .. }
            | Self::Store(_)
            | Self::Packages(_)
            | Self::Fetch(_)
            | Self::Disk(_) => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        let log = self.transcript().map(|(_, log)| format!("the full log is at {}", log.display()));
        self.hint().into_iter().chain(log).collect()
    }
}

impl Classified for ShellError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stage(error) => error.kind(),
            Self::Sandbox(_) | Self::NotFailed(_) | Self::NotKept { .. } => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Stage(error) => error.hints(),
            error => error.hint().into_iter().collect(),
        }
    }
}

impl Classified for TargetError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec![self.hint()]
    }
}

impl Classified for FindStageError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        self.hint().map(str::to_owned).into_iter().collect()
    }
}

impl Classified for IgnoreError {
    fn kind(&self) -> ErrorKind {
        if self.is_usage() { ErrorKind::Usage } else { ErrorKind::Environment }
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

/// Mistakes in a recipe carry their own hints.
impl Classified for RecipeErrors {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}

impl Classified for UserNamespaceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        vec![self.hint(), "`ibuild doctor` tells all that is missing".to_owned()]
    }
}

impl Classified for ToolError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }
}

impl Classified for PackageError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

/// A machine that was started and did not do what was expected has failed; one that could not be started lacks something.
impl Classified for MachineError {
    fn kind(&self) -> ErrorKind {
        match self {
            error if error.is_interrupt() => ErrorKind::Interrupted,
            error if error.is_verdict() => ErrorKind::Failed,
            _ => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

impl Classified for TrialError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Machine { source, .. } if source.is_interrupt() => ErrorKind::Interrupted,
            error if error.is_verdict() => ErrorKind::Failed,
            error if error.is_usage() => ErrorKind::Usage,
            _ => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

/// What is not there was asked for and found missing.
impl Classified for InsideError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stage(error) => error.kind(),
            Self::Damaged(_) | Self::Write(_) => ErrorKind::Environment,
            Self::Missing(_) | Self::NotADirectory(_) | Self::NotAFile(_) | Self::TooManyLinks(_) => {
                ErrorKind::Failed
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

impl Classified for MountError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotEmpty(_) | Self::NotOurs(_) => ErrorKind::Usage,
            Self::Stage(error) => error.kind(),
            Self::Busy | Self::Refused { .. } => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

impl Classified for crate::release::SignatureError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Key(_) => ErrorKind::Usage,
            Self::Read(_) | Self::Start(..) => ErrorKind::Environment,
            _ => ErrorKind::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Start("gpgv", _) => "apt-get install gpgv",
            Self::Start(..) => "apt-get install minisign",
            Self::Key(_) => "take the public key: `gpg --export --armor KEY` writes it",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl Classified for ImportError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(_) | Self::NoRoom { .. } | Self::Cache(_) | Self::Snapshot(_) => {
                ErrorKind::Environment
            }
            Self::Manifest(_) => ErrorKind::Usage,
            _ => ErrorKind::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Untrusted(_) => {
                "`ibuild cache export --sign HOW` signs an archive; without `--require-signature` anybody is believed"
            }
            Self::NoRoom { .. } => "`ibuild cache gc` makes room",
            Self::Manifest(ExportError::Format(_)) => "export it with the same version of ibuild",
            Self::Read(_) | Self::Cache(_) | Self::Snapshot(_) => return Vec::new(),
            _ => "nothing was imported: export it again, and compare what arrives",
        };
        vec![hint.to_owned()]
    }
}
