//! What keeps an archive from being imported.

use std::io;

use ibuild_cache::CacheError;

use super::manifest::ExportError;
use crate::snapshot::SnapshotError;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive cannot be read to its end.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// It is something else, from its beginning or from some place on.
    #[error("it is not an archive of `ibuild cache export`, or damaged")]
    NotAnArchive(#[source] io::Error),
    /// It ends too early.
    #[error("the archive ends within `{0}`")]
    Truncated(String),
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ExportError),
    /// Nobody who is trusted has signed it.
    #[error("cannot trust the archive: {0}")]
    Untrusted(String),
    /// Something is not there.
    #[error("`{0}` is not in the archive")]
    Missing(String),
    /// Something else is where a file should be.
    #[error("the archive has `{}` where {}", found.escape_debug(), match expected { Some(name) => format!("`{name}` should be"), None => "it should end".to_owned() })]
    Unexpected {
        /// What should be there.
        expected: Option<String>,
        /// What is.
        found: String,
    },
    /// A file is longer or shorter than the manifest says.
    #[error("`{0}` has another size than the manifest says")]
    OtherSize(String),
    /// A file has not the digest of its name.
    #[error("`{0}` does not match the digest in its name")]
    OtherBytes(String),
    /// Nothing of the kind is so large.
    #[error("{0} is larger than any that ibuild writes")]
    TooLarge(String),
    /// The disk has no room.
    #[error("it takes {} MiB, and {} MiB are free", needed >> 20, free >> 20)]
    NoRoom {
        /// Bytes of the archive.
        needed: u64,
        /// Free bytes where the store is.
        free: u64,
    },
    /// A layer is not what its name says, or is none.
    #[error("the layer {0} is damaged")]
    Layer(String),
    /// A layer does not make the tree that the manifest says.
    #[error("the layer of `{}` makes another root file system than the manifest says", .0.escape_debug())]
    Tree(String),
    /// A layer says other things than what a stage would have left, as files that are taken out of every layer.
    #[error("no stage would have made the layer {0}")]
    NotMade(String),
    /// The parts of an image do not make it.
    #[error("the parts of `{}` do not make it", .0.escape_debug())]
    Composition(String),
    /// What is known of packages is malformed.
    #[error("what the archive says of the packages of `{}` is malformed", .0.escape_debug())]
    Packages(String),
    /// A snapshot could not be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
