//! Why a stage could not be made.

use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, CacheError, is_stop};

use crate::disk::DiskError;
use crate::packages::{FetchError, LockChange, PackageError};
use crate::recipe::ignore::IgnoreError;
use crate::sandbox::{End, Found, SandboxError};
use crate::snapshot::SnapshotError;

/// Why a stage could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// What it runs failed.
    #[error("{program} {end}")]
    Failed {
        /// What ran, as the recipe calls it.
        program: String,
        /// How it ended.
        end: End,
        /// The last lines that it said.
        tail: Vec<String>,
        /// Where all of them are.
        log: PathBuf,
    },
    /// It could not be run to its end.
    #[error("{}", describe_sandbox(program, source))]
    Sandbox {
        /// What was to run, as the recipe calls it.
        program: String,
        /// The last lines that it said.
        tail: Vec<String>,
        /// Where all of them are.
        log: PathBuf,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// The store's file system had no room left while it ran, so a write of it may have been refused.
    #[error("the disk got full while {program} ran: only {left} bytes were left for the store in `{}`", store.display())]
    DiskFull {
        /// What ran, as the recipe calls it.
        program: String,
        /// The store's directory.
        store: PathBuf,
        /// The bytes that were left.
        left: u64,
    },
    /// What is in the store of a finished image is not what it was. It was removed, so that the image is made again.
    #[error("the image {0} was damaged in the store")]
    DamagedArtifact(BlobId),
    /// A file of the project cannot be read.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pipe, a socket or a device of the project, which no copy can hold.
    #[error("`{}` is neither a file, nor a directory, nor a link", .0.display())]
    Special(PathBuf),
    /// The rules of a copied directory cannot be followed.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// A file of the project was another when the stage was to have it than when it was looked at.
    #[error("`{0}` changes again and again while it is read")]
    InputsChanged(String),
    /// A path that is to be taken from another root file system is not there.
    #[error("there is no `{path}` in `{rootfs}`")]
    NothingToCopy {
        /// The path.
        path: String,
        /// The other root file system.
        rootfs: String,
    },
    /// A step needs secrets that are not given.
    #[error("{} not given", names_of_secrets(.0))]
    MissingSecrets(Vec<String>),
    /// Something that a stage made, or asked for, has a secret that it was shown. Nothing of it is kept.
    #[error("{place} has the secret `{}`, {}", found.name, found.form)]
    Leaked {
        /// What, without the secret.
        place: String,
        /// Which one, and how it is there.
        found: Found,
    },
    /// An archive that is not Debian's cannot be used.
    #[error("cannot use the archive `{archive}` of {url}")]
    Archive {
        /// Its name in the recipe.
        archive: String,
        /// Where it is.
        url: String,
        /// Why.
        #[source]
        source: Box<PackageError>,
    },
    /// `--locked`, and the lock does not cover an archive.
    #[error("`ibuild.lock` says nothing about the archive `{archive}`")]
    NotLocked {
        /// The archive's name in the recipe.
        archive: String,
    },
    /// `--locked`, and the stages use other packages than the lock says.
    #[error("the build uses other packages than `ibuild.lock` says: {}", shortened(changes))]
    LockDrift {
        /// What would have to change in the lock, in the order of its lines.
        changes: Vec<LockChange>,
    },
    /// `--locked`, and nobody can say which packages are in a part of the build.
    #[error("it is not known which packages {} installed", stages.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", "))]
    NotObserved {
        /// The stages.
        stages: Vec<String>,
    },
    /// The user gave up while it waited.
    #[error("interrupted")]
    Interrupted,
    /// The snapshot engine failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The package view failed.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The disk engine failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The secrets, as the beginning of a sentence.
fn names_of_secrets(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [one] => format!("the secret {one} is"),
        several => format!("the secrets {} are", several.join(", ")),
    }
}

/// How to give a secret.
pub fn how_to_give(name: &str) -> String {
    format!(
        "give it with `--secret {name}=FILE`, or with `{name} = \"FILE\"` under `[secrets]` in `ibuild.local.toml`"
    )
}

/// The first few of them.
fn shortened(changes: &[LockChange]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = changes.iter().take(SHOWN).map(ToString::to_string).collect();
    let more =
        if changes.len() > SHOWN { format!(" and {} more", changes.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// A hint for an archive that has an address of its own, and no mirrors.
fn of_an_address(hint: &str) -> String {
    hint.replace("try another `mirror`", "correct its `url`")
        .replace("or another `mirror`", "or another `url`")
        .replace("check `mirror`", "check its `url`")
}

fn describe_sandbox(program: &str, error: &SandboxError) -> String {
    match error {
        SandboxError::TimedOut(_) | SandboxError::Exceeded(_) | SandboxError::DiskFull(_) => {
            format!("{program} was stopped")
        }
        SandboxError::InTheWay(_) => format!("{program} cannot be made"),
        SandboxError::NotUnpacked(_) => format!("{program} cannot be unpacked"),
        SandboxError::NotStarted(_) => format!("the interpreter of {program} cannot be started"),
        _ => format!("cannot run {program}"),
    }
}

impl StageError {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    /// What happened, with its causes.
    pub fn in_a_line(&self) -> String {
        let (mut said, mut cause) = (vec![self.to_string()], std::error::Error::source(self));
        while let Some(error) = cause {
            said.push(error.to_string());
            cause = error.source();
        }
        said.dedup();
        said.join(": ")
    }

    /// What the stage said before it failed or was stopped: the last lines, and the file with all of them. What it had made
    /// is kept then, too.
    pub fn transcript(&self) -> Option<(&[String], &Path)> {
        match self {
            Self::Failed { tail, log, .. } => Some((tail, log)),
            Self::Sandbox {
                tail,
                log,
                source: SandboxError::TimedOut(_) | SandboxError::Exceeded(_) | SandboxError::DiskFull(_),
                ..
            } => Some((tail, log)),
            _ => None,
        }
    }

    /// What the user can do about it, where there is something.
    #[allow(clippy::too_many_lines, reason = "one arm for each error")]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { .. } => None,
            Self::Snapshot(SnapshotError::ReservedName(_)) => {
                Some("remove it in the step, or list its path under the step's `volatile`".to_owned())
            }
            Self::Snapshot(SnapshotError::InodeFlag { path, letter, .. }) => Some(format!(
                "take it away at the end of the step: `chattr -{letter} /{}`; the machine can set it when it starts",
                path.display()
            )),
            Self::Snapshot(SnapshotError::TooDeep { .. } | SnapshotError::TooLong { .. }) => {
                Some("remove it at the end of the step".to_owned())
            }
            Self::DiskFull { .. } => {
                Some("`ibuild cache gc` makes room, with `--budget SIZE` as much as you like".to_owned())
            }
            Self::DamagedArtifact(_) => Some("build again: it is made anew".to_owned()),
            Self::Special(_) => Some(
                "only these can be copied: move it away, or name it in an `.ibuildignore`".to_owned(),
            ),
            Self::Ignore(error) => error.hint(),
            Self::InputsChanged(_) => Some("build again once the file is as it should be".to_owned()),
            Self::MissingSecrets(names) => names.first().map(|name| how_to_give(name)),
            Self::Leaked { found, .. } => Some(format!(
                "what a step makes is kept and published: let it read `/run/ibuild/secrets/{}` where it needs it and remove at \
                 its end what was made of that",
                found.name
            )),
            Self::NotLocked { .. } => {
                Some("build once without `--locked` to record it, and commit `ibuild.lock`".to_owned())
            }
            Self::LockDrift { .. } => Some(
                "build once without `--locked`, look at what that changes in the lock, and commit it"
                    .to_owned(),
            ),
            Self::NotObserved { stages } => Some(format!(
                "a package of it could not be kept: make room, and `ibuild build --from {}`",
                stages.first().map_or("", String::as_str)
            )),
            Self::Packages(error) => error.hint(),
            Self::Archive { source, .. } => source.hint().map(|hint| of_an_address(&hint)),
            Self::Fetch(error) => error.hint(),
            Self::Disk(error) => error.hint(),
            Self::Sandbox { source: SandboxError::Setup(_), .. } => {
                Some("`ibuild doctor` tells what this machine lacks for sandboxes".to_owned())
            }
            Self::Sandbox { source: SandboxError::TimedOut(_), .. } => {
                Some("raise the step's `timeout`, or look at the log for what it waits for".to_owned())
            }
            Self::Sandbox { source: SandboxError::Exceeded(exceeded), .. } => {
                Some(format!("raise `{}` in the `limits` of the step or of its rootfs", exceeded.key()))
            }
            Self::Sandbox { source: SandboxError::NotStarted(_), .. } => Some(
                "a script's first line names its interpreter: name another one, or let an earlier step install it".to_owned(),
            ),
            Self::Sandbox { source: SandboxError::InTheWay(what), .. } => Some(what.hint().to_owned()),
            Self::Sandbox { source: SandboxError::NotUnpacked(_), .. } => Some(
                "leave out `unpack` to have the file as it is, and unpack it in a `run` step: there it can do no harm either"
                    .to_owned(),
            ),
            Self::Sandbox { source: SandboxError::DiskFull(_), .. } => {
                Some("make room: `ibuild cache gc` removes what no build needs any more".to_owned())
            }
            Self::Store(CacheError::Index { .. })
            | Self::Snapshot(SnapshotError::Store(CacheError::Index { .. })) => {
                Some("`ibuild cache fsck` puts a broken index aside and begins a new one".to_owned())
            }
            Self::Snapshot(SnapshotError::MissingLayer(_) | SnapshotError::UnknownTree(_)) => {
                Some("`ibuild cache fsck` forgets what is damaged; then it is made again".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the user gave up.
    pub fn is_interrupt(&self) -> bool {
        match self {
            Self::Interrupted
            | Self::Sandbox { source: SandboxError::Interrupted, .. }
            | Self::Snapshot(SnapshotError::Interrupted) => true,
            Self::Store(CacheError::Io { source, .. }) => is_stop(source),
            Self::Disk(error) => error.is_interrupt(),
            _ => false,
        }
    }

    /// Whether something outside the recipe is at fault: mirror, disk, permission, tool.
    #[allow(clippy::too_many_lines, reason = "one arm for each error")]
    pub fn is_environment(&self) -> bool {
        match self {
            Self::Failed { .. }
            | Self::Snapshot(
                SnapshotError::ReservedName(_)
                | SnapshotError::InodeFlag { .. }
                | SnapshotError::TooDeep { .. }
                | SnapshotError::TooLong { .. },
            )
            | Self::NothingToCopy { .. }
            | Self::MissingSecrets(_)
            | Self::Leaked { .. }
            | Self::Special(_)
            | Self::InputsChanged(_)
            | Self::NotLocked { .. }
            | Self::LockDrift { .. }
            | Self::NotObserved { .. } => false,
            Self::Ignore(error) => !error.is_usage(),
            Self::Sandbox { source, .. } => match source {
                SandboxError::Init { .. }
                | SandboxError::Setup(_)
                | SandboxError::Serve(_)
                | SandboxError::Killed
                | SandboxError::DiskFull(_) => true,
                SandboxError::NotStarted(_)
                | SandboxError::TimedOut(_)
                | SandboxError::Exceeded(_)
                | SandboxError::SourceChanged(_)
                | SandboxError::InTheWay(_)
                | SandboxError::NotUnpacked(_)
                | SandboxError::Interrupted => false,
            },
            Self::Interrupted
            | Self::Snapshot(_)
            | Self::DiskFull { .. }
            | Self::DamagedArtifact(_)
            | Self::Io { .. }
            | Self::Archive { .. }
            | Self::Store(_)
            | Self::Packages(_)
            | Self::Fetch(_)
            | Self::Disk(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
