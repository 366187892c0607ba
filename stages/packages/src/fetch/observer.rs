//! Who is told how downloads go on.

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// The file is in the store.
    Stored,
    /// It is not.
    Failed,
}

/// Is told how downloads go on, from several threads: of files of archives, which are called by their paths there, and of
/// files that a recipe names, which are called by their addresses. What an observer does not implement it ignores.
pub trait FetchObserver: Send + Sync {
    /// A download starts.
    fn started(&self, _file: &str) {}
    /// So many bytes more have come.
    fn received(&self, _file: &str, _bytes: u64) {}
    /// A download is over.
    fn finished(&self, _file: &str, _end: FetchEnd) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullFetchObserver;

impl FetchObserver for NullFetchObserver {}
