//! What the store has, read again before it is given out: a file is only as good as its digest, and disks forget.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ibuild_cache::{BlobStore, CacheError, FileStamp, Sha256};
use tokio::task::spawn_blocking;

use super::release::Known;

/// The files of a store. Each is read once, and again only if it does not look the same any more.
pub(super) struct Kept {
    store: BlobStore<Sha256>,
    checked: Mutex<HashMap<Sha256, FileStamp>>,
}

impl Kept {
    pub(super) fn new(store: BlobStore<Sha256>) -> Self {
        Self { store, checked: Mutex::default() }
    }

    /// The file, if it is here and whole. One that has not the digest of its name is removed, so that it is fetched
    /// again.
    pub(super) async fn open(&self, known: &Known) -> Result<Option<File>, CacheError> {
        let Some(file) = self.store.open(&known.sha256)? else { return Ok(None) };
        let path = self.store.path(&known.sha256);
        let meta = file.metadata().map_err(|source| CacheError::Io { act: "look at", path, source })?;
        let stamp = FileStamp::of(&meta);
        if meta.len() != known.size {
            return Ok(None);
        }
        if self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(&known.sha256) == Some(&stamp) {
            return Ok(Some(file));
        }
        let (store, digest) = (self.store.clone(), known.sha256);
        let verified = spawn_blocking(move || store.verify(&digest)).await;
        match verified.expect("reading does not panic")? {
            Some(true) => {
                self.remember(known.sha256, stamp);
                Ok(Some(file))
            }
            Some(false) => self.store.remove(&known.sha256).map(|()| None),
            None => Ok(None),
        }
    }

    /// A file that was written a moment ago might be written again without looking any different.
    fn remember(&self, digest: Sha256, stamp: FileStamp) {
        if stamp.is_settled(SystemTime::now()) {
            self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, stamp);
        }
    }
}
