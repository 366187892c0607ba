//! Indices as tables in memory: each is read from the store once, however many ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ibuild_cache::{BlobStore, Sha256, Store};

use super::PackageError;
use super::index::{PoolTable, read_text};
use super::view::ArchiveFile;

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

    /// Reads an index that is in the store. Takes a second for the largest.
    pub(super) fn load(&self, index: &ArchiveFile) -> Result<(), PackageError> {
        let digest = index.known.sha256;
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(&digest).is_some() {
            return Ok(());
        }
        let text = self.text(index)?;
        let table = PoolTable::parse(&text)
            .map_err(|source| PackageError::Index { path: index.path().to_owned(), source })?;
        self.read.write().unwrap_or_else(PoisonError::into_inner).insert(digest, Arc::new(table));
        Ok(())
    }

    /// The text of an index that is in the store, checked again.
    pub(super) fn text(&self, index: &ArchiveFile) -> Result<String, PackageError> {
        let path = index.path().to_owned();
        let bytes = self.store.read(&index.known.sha256)?;
        let Some(bytes) = bytes else {
            return Err(PackageError::NotStored { path, sha256: index.known.sha256 });
        };
        read_text(&path, &bytes[..]).map_err(|source| PackageError::Index { path, source })
    }

    /// Forgets the tables of all indices but these.
    pub(super) fn retain(&self, wanted: impl Fn(&Sha256) -> bool) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).retain(|index, _| wanted(index));
    }
}
