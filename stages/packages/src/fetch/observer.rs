//! Who is told how downloads go on.

use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetch_error::FetchError;

/// Is told how downloads go on, from several threads. What an observer does not implement it ignores.
pub trait FetchObserver: Send + Sync {
    /// A download starts.
    fn started(&self, _file: &ArchiveFile) {}
    /// So many bytes more have come.
    fn received(&self, _file: &ArchiveFile, _bytes: u64) {}
    /// A download is over.
    fn finished(&self, _file: &ArchiveFile, _result: Result<(), &FetchError>) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullFetchObserver;

impl FetchObserver for NullFetchObserver {}
