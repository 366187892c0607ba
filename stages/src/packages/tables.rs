//! Indices as tables in memory: each is read from the store once, however many ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use ibuild_cache::{BlobStore, Sha256, Store};

use super::PackageError;
use super::index::{PoolTable, read_text};
use super::view::ArchiveFile;

/// Where the bytes of an index are.
pub(super) enum IndexSource {
    /// In the store, where they are checked again.
    Store,
    /// Here, and checked: the store could not keep them.
    Memory(Bytes),
}

/// The tables that have been read, by the digests of their indices.
pub(super) struct Tables {
    store: BlobStore<Sha256>,
    read: RwLock<HashMap<Sha256, Arc<PoolTable>>>,
    /// Indices are parsed one at a time: two requests for packages of one suite come together.
    reading: Mutex<()>,
}

impl Tables {
    /// None yet.
    pub(super) fn new(store: &Store) -> Self {
        let (read, reading) = Default::default();
        Self { store: store.packages(), read, reading }
    }

    /// A table, if it has been read.
    pub(super) fn get(&self, index: &Sha256) -> Option<Arc<PoolTable>> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    /// Reads an index. Takes a second for the largest.
    pub(super) fn load(
        &self,
        index: &ArchiveFile,
        source: IndexSource,
    ) -> Result<Arc<PoolTable>, PackageError> {
        let digest = index.known.sha256;
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = self.get(&digest) {
            return Ok(table);
        }
        let text = match source {
            IndexSource::Store => self.text(index)?,
            IndexSource::Memory(bytes) => text_of(index, &bytes)?,
        };
        let table = PoolTable::parse(index.path(), &text)
            .map_err(|source| PackageError::Index { path: index.path().to_owned(), source })?;
        let table = Arc::new(table);
        self.read.write().unwrap_or_else(PoisonError::into_inner).insert(digest, table.clone());
        Ok(table)
    }

    /// The text of an index that is in the store, checked again.
    pub(super) fn text(&self, index: &ArchiveFile) -> Result<String, PackageError> {
        let bytes = self.store.read(&index.known.sha256)?;
        let missing =
            || PackageError::NotStored { path: index.path().to_owned(), sha256: index.known.sha256 };
        text_of(index, &bytes.ok_or_else(missing)?)
    }

    /// Forgets the tables of all indices but these.
    pub(super) fn retain(&self, wanted: impl Fn(&Sha256) -> bool) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).retain(|index, _| wanted(index));
    }
}

fn text_of(index: &ArchiveFile, bytes: &[u8]) -> Result<String, PackageError> {
    let path = index.path().to_owned();
    read_text(&path, bytes).map_err(|source| PackageError::Index { path, source })
}
