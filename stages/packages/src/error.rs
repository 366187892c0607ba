//! What can go wrong with packages. Every variant names the act and the thing.

use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::{CacheError, Sha256};
use ibuild_debian::{
    Base, DebError, IdentityError, IndexError, Name, NameError, ReleaseError, Suite, Timestamp,
};

use crate::archive::lock_error::LockError;
use crate::archive::signed_file::SignedFileError;
use crate::archive::verify::VerifyError;
use crate::fetch::certificate::AuthorityError;
use crate::fetch::fallback_sources::FallbackError;
use crate::fetch::fetch_error::FetchError;
use crate::fetch::mirror::MirrorError;
use crate::fetch::pinned_error::PinnedError;

/// A failed operation on an archive.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A .deb that cannot be used.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A package of an index that cannot be one.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The operating system refused.
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
    /// The threads that fetch could not be started.
    #[error("cannot start the threads that fetch packages")]
    Threads(#[source] io::Error),
    /// A stage's socket cannot be served.
    #[error("cannot listen on the socket of the stage")]
    Listen(#[source] io::Error),
    /// The certificates of a stage cannot be made.
    #[error("cannot make the certificates by which a stage is answered")]
    StageTls(#[source] rcgen::Error),
    /// No mirror is known.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// A place besides the mirrors cannot be used.
    #[error(transparent)]
    FallbackSources(FallbackError),
    /// Mirrors are to be fetched from by https, and nobody's certificate can be judged.
    #[error(transparent)]
    Authorities(#[from] AuthorityError),
    /// The lock cannot be used.
    #[error("{}", source.verdict(path))]
    Lock {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: LockError,
    },
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file that a recipe names could not be fetched.
    #[error(transparent)]
    Pinned(Box<PinnedError>),
    /// A file that a recipe names is not signed as it says.
    #[error("cannot trust `{url}`")]
    SignedFile {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: Box<SignedFileError>,
    },
    /// A suite has no signed root.
    #[error("suite `{suite}` has no InRelease there")]
    NoRoot {
        /// The suite.
        suite: Suite,
        /// What was looked for.
        #[source]
        source: FetchError,
    },
    /// A suite's root is not trusted.
    #[error("cannot trust the InRelease of `{suite}`")]
    Verify {
        /// The suite.
        suite: Suite,
        /// Why.
        #[source]
        source: VerifyError,
    },
    /// A suite's root is signed, but unusable.
    #[error("cannot use the InRelease of `{suite}`")]
    Release {
        /// The suite.
        suite: Suite,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// The mirror sent another suite than was asked for.
    #[error("the mirror sent the InRelease of another suite for `{suite}`")]
    OtherSuite {
        /// The suite that was asked for.
        suite: Suite,
    },
    /// The mirror's state of a suite is past its time.
    #[error("the mirror's state of `{suite}` expired on {until}")]
    Expired {
        /// The suite.
        suite: Suite,
        /// When.
        until: Timestamp,
    },
    /// The mirror's state of a suite is older than the locked one.
    #[error("the mirror's state of `{suite}` is of {found}, older than the locked one of {locked}")]
    RolledBack {
        /// The suite.
        suite: Suite,
        /// When the locked one was made.
        locked: Timestamp,
        /// When the mirror's was made.
        found: Timestamp,
    },
    /// A component that the suite does not have.
    #[error("suite `{suite}` has no component `{component}` for {architecture}")]
    NoIndex {
        /// The suite.
        suite: Suite,
        /// The component.
        component: Name,
        /// The architecture.
        architecture: Name,
        /// The components that it has.
        known: Vec<String>,
    },
    /// A flat repository without a list of packages.
    #[error("`{suite}` lists no `Packages`")]
    NoFlatIndex {
        /// The suite.
        suite: Suite,
    },
    /// An index is verified, but unusable.
    #[error("cannot use the index `{path}`")]
    Index {
        /// The index.
        path: String,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// A file that should have been fetched is gone from the store.
    #[error("`{path}` ({sha256}) is not in the store")]
    NotStored {
        /// Its path in the archive.
        path: String,
        /// Its digest.
        sha256: Sha256,
    },
    /// The lock has nothing about a suite.
    #[error("the lock does not name suite `{suite}` of archive `{archive}`")]
    NotLocked {
        /// The archive.
        archive: String,
        /// The suite.
        suite: Suite,
    },
    /// The locked root is nowhere to be had.
    #[error("the mirror has moved on: `{suite}` is locked at {locked}, the mirror has {found}")]
    MovedOn {
        /// The suite.
        suite: Suite,
        /// What the lock names.
        locked: Sha256,
        /// What the mirror has today.
        found: Sha256,
    },
    /// A package that no suite has.
    #[error("no package `{package}`{} in {}", wanted_by(by), bases(searched))]
    NoPackage {
        /// What was looked for, with its version constraint.
        package: String,
        /// The package that needs it.
        by: Option<String>,
        /// Where it was looked for.
        searched: Vec<Base>,
    },
}

impl From<PinnedError> for PackageError {
    fn from(error: PinnedError) -> Self {
        Self::Pinned(Box::new(error))
    }
}

fn wanted_by(by: &Option<String>) -> String {
    by.as_ref().map(|by| format!(", which `{by}` depends on,")).unwrap_or_default()
}

fn bases(searched: &[Base]) -> String {
    let urls: Vec<_> = searched.iter().map(|base| base.canonical_url()).collect();
    urls.join(" and ")
}

impl PackageError {
    /// For `map_err` on an operation on `path`; `act` is a verb.
    pub fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    /// What to do about it, where there is something to do.
    #[allow(clippy::too_many_lines, reason = "one arm for each error")]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Mirror(error) => Some(error.hint()),
            Self::FallbackSources(error) => Some(error.hint().to_owned()),
            Self::Authorities(error) => Some(error.hint().to_owned()),
            Self::Lock { source, .. } => Some(source.hint()),
            Self::Fetch(error) => error.hint(),
            Self::Pinned(error) => error.hint(),
            Self::SignedFile { source, .. } => source.hint(),
            Self::Verify { source, .. } => Some(source.hint().to_owned()),
            Self::MovedOn { .. } => Some("run `ibuild update` to lock what the mirror has now".to_owned()),
            Self::NotLocked { .. } => Some("run `ibuild lock`".to_owned()),
            Self::OtherSuite { .. } => {
                Some("check `suites` in the recipe, or try another `mirror`".to_owned())
            }
            Self::Expired { .. } => Some(
                "the mirror is not kept up to date: try another `mirror`; an archive that is closed for good is taken with \
                 `ibuild update --allow-expired`"
                    .to_owned(),
            ),
            Self::RolledBack { .. } => Some(
                "the mirror is behind: try again later, or another `mirror`; `ibuild update --allow-rollback` goes back on \
                 purpose"
                    .to_owned(),
            ),
            Self::NoRoot { .. } => Some(
                "check `suites` in the recipe, and the archive's address; one that is not signed, or by a `Release.gpg` \
                 alone, is not taken"
                    .to_owned(),
            ),
            Self::NoFlatIndex { .. } => {
                Some("check `suites` in the recipe: only a flat repository is named with a `/` at the end".to_owned())
            }
            Self::NoIndex { known, .. } if known.is_empty() => {
                Some("check `architecture` in the recipe: the suite has nothing for it".to_owned())
            }
            Self::NoIndex { known, .. } => {
                Some(format!("check `components` in the recipe: the suite has {}", known.join(", ")))
            }
            Self::NoPackage { .. } => Some("check `suites` and `components` in the recipe".to_owned()),
            _ => None,
        }
    }
}
