//! Indices as tables in memory: each is read from the store once, however many ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use ibuild_cache::{BlobStore, Sha256, Store};

use crate::PackageError;
use crate::fetch::archive_file::ArchiveFile;
use ibuild_debian::{
    IndexError,
    index::{PoolTable, read_text},
};

/// Where the bytes of an index are.
pub(crate) enum IndexSource {
    /// In the store, where they are checked again.
    Store,
    /// Here, and checked: the store could not keep them.
    Memory(Bytes),
}

/// The tables that have been read, by the digests of their indices.
pub(crate) struct Tables {
    store: BlobStore<Sha256>,
    read: RwLock<HashMap<Sha256, Arc<PoolTable>>>,
    /// Indices are parsed one at a time: two requests for packages of one suite come together.
    reading: Mutex<()>,
}

impl Tables {
    /// None yet.
    pub(crate) fn new(store: &Store) -> Self {
        let (read, reading) = Default::default();
        Self { store: store.packages(), read, reading }
    }

    /// A table, if it has been read.
    pub(crate) fn get(&self, index: &Sha256) -> Option<Arc<PoolTable>> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    /// Reads an index. Takes a second for the largest.
    pub(crate) fn load(
        &self,
        index: &ArchiveFile,
        source: IndexSource,
    ) -> Result<Arc<PoolTable>, PackageError> {
        let digest = index.known.sha256;
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = self.get(&digest) {
            return Ok(table);
        }
        let compressed = match source {
            IndexSource::Store => self.bytes(index)?,
            IndexSource::Memory(bytes) => bytes,
        };
        let table = Arc::new(PoolTable::read(index.path(), &*compressed).map_err(unusable(index))?);
        self.read.write().unwrap_or_else(PoisonError::into_inner).insert(digest, table.clone());
        Ok(table)
    }

    /// The text of an index that is in the store, checked again.
    pub(crate) fn text(&self, index: &ArchiveFile) -> Result<String, PackageError> {
        read_text(index.path(), &*self.bytes(index)?).map_err(unusable(index))
    }

    fn bytes(&self, index: &ArchiveFile) -> Result<Bytes, PackageError> {
        let sha256 = index.known.sha256;
        let bytes = self.store.read(&sha256)?;
        let bytes = bytes.ok_or_else(|| PackageError::NotStored { path: index.path().to_owned(), sha256 })?;
        Ok(bytes.into())
    }

    /// Forgets the tables of all indices but these.
    pub(crate) fn retain(&self, wanted: impl Fn(&Sha256) -> bool) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).retain(|index, _| wanted(index));
    }
}

fn unusable(index: &ArchiveFile) -> impl FnOnce(IndexError) -> PackageError {
    let path = index.path().to_owned();
    |source| PackageError::Index { path, source }
}
