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
    pub(crate) fn io<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| match source.into() {
            stopped if is_stop(&stopped) => Self::Interrupted,
            source => Self::Io { act, path, source },
        }
    }
}
