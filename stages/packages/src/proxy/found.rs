//! What a server finds for a path.

use bytes::Bytes;

use crate::fetch::archive_file::ArchiveFile;

/// What a path stands for.
pub(crate) enum Found {
    /// A file whose digest the chain of signatures names.
    File(ArchiveFile),
    /// A suite's signed root.
    Root(Root),
    /// Something that no signed index is about.
    Unlisted,
}

/// A signed root as it is given out.
pub(crate) struct Root {
    pub file: ArchiveFile,
    pub signed: Bytes,
    pub state: RootState,
}

/// How well a root is known to be the latest.
pub(crate) enum RootState {
    /// The mirror has just sent it.
    Fetched,
    /// The mirror sent it, or was asked about it, a moment ago.
    Recent,
    /// The mirror has nothing better, for this reason.
    Stale(String),
}
