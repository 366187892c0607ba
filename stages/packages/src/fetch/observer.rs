//! Who is told how downloads go on.

use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetch_error::FetchError;

/// Is told how downloads go on, from several threads.
pub trait FetchObserver: Send + Sync {
    /// A download starts.
    fn started(&self, file: &ArchiveFile);
    /// So many bytes more have come.
    fn received(&self, file: &ArchiveFile, bytes: u64);
    /// A download is over.
    fn finished(&self, file: &ArchiveFile, result: Result<(), &FetchError>);
}

/// An observer that does not care.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullFetchObserver;

impl FetchObserver for NullFetchObserver {
    fn started(&self, _: &ArchiveFile) {}
    fn received(&self, _: &ArchiveFile, _: u64) {}
    fn finished(&self, _: &ArchiveFile, _: Result<(), &FetchError>) {}
}
