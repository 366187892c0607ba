//! What can go wrong with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::{CacheError, LayerId, TreeId, is_stop};

/// A failed operation on a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
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
    /// The store refused.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The index does not know a directory of a tree.
    #[error("the index does not know the tree {0}")]
    UnknownTree(TreeId),
    /// The store does not have a layer's tarball, or has it damaged.
    #[error("the layer {0} is not in the store, or is damaged")]
    MissingLayer(LayerId),
    /// What was unpacked of a layer was not what the layer is. It is removed by now.
    #[error(
        "the unpacked layer {0} was changed by something else; it is removed, and made again by the next build"
    )]
    ChangedLayer(LayerId),
    /// A file's name has another meaning in a layer.
    #[error("cannot keep `{}`: in a layer a name that begins with `.wh.` stands for a removal", .0.display())]
    ReservedName(PathBuf),
    /// A file has a flag that no tree holds.
    #[error("cannot keep the flag `{letter}` ({meaning}) of `/{}`", path.display())]
    InodeFlag {
        /// The file, relative to the root.
        path: PathBuf,
        /// What `chattr` and `lsattr` call it.
        letter: char,
        /// What it does.
        meaning: &'static str,
    },
    /// A directory is in too many others.
    #[error("cannot keep `/{}`: it is nested deeper than {most} levels", path.display())]
    TooDeep {
        /// The directory, relative to the root.
        path: PathBuf,
        /// So many are possible.
        most: usize,
    },
    /// A path is too long.
    #[error("cannot keep `/{}`: its path is longer than {most} bytes", path.display())]
    TooLong {
        /// The file, relative to the root.
        path: PathBuf,
        /// So many are possible.
        most: usize,
    },
    /// A tarball holds something that must not be extracted.
    #[error("cannot extract `{}`: {reason}", path.display())]
    Refused {
        /// The entry's path.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
}

impl SnapshotError {
    /// What an error of the system becomes: `act` is a verb, as in "cannot read".
    pub fn io<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| match source.into() {
            stopped if is_stop(&stopped) => Self::Interrupted,
            source => Self::Io { act, path, source },
        }
    }
}
