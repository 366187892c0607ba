//! What the store has, read again before it is given out: a file is only as good as its digest, and disks forget.
//!
//! A file is read again before a process serves it for the first time, and whenever it looks different. Hashing costs
//! less than sending.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ibuild_cache::{BlobStore, CacheError, Digest, FileStamp, Sha256};
use tokio::task::spawn_blocking;

use crate::fetch::content::Content;
use crate::fetch::content::{CHUNK, read_chunk};
use crate::fetch::memory_cache::MemoryCache;
use ibuild_debian::Known;

/// The files of a store. Each is read once, and again only if it does not look the same any more.
pub(crate) struct VerifiedStore {
    store: BlobStore<Sha256>,
    checked: Mutex<HashMap<Sha256, FileStamp>>,
    recent: MemoryCache,
}

impl VerifiedStore {
    pub(crate) fn new(store: BlobStore<Sha256>) -> Self {
        Self { store, checked: Mutex::default(), recent: MemoryCache::default() }
    }

    /// What is sent of a file that is here and whole. One that is small and wanted again is held in memory from then on; a
    /// stage wants nothing twice.
    pub(crate) async fn content(&self, known: &Known) -> Result<Option<Content>, CacheError> {
        if let Some(bytes) = self.recent.get(&known.sha256) {
            return Ok(Some(Content::Memory(bytes)));
        }
        let is_wanted_again = self.stamp(&known.sha256).is_some();
        let Some(file) = self.open(known).await? else { return Ok(None) };
        let now = Instant::now();
        if !is_wanted_again || known.size > CHUNK || !self.recent.has_room(known.size, now) {
            return Ok(Some(Content::File(file)));
        }
        let path = self.store.path(&known.sha256);
        let bytes = read_chunk(&file, 0, known.size).map_err(|source| CacheError::Io {
            act: "read",
            path,
            source,
        })?;
        if Sha256::of(&bytes) != known.sha256 {
            return self.store.remove(&known.sha256).map(|()| None);
        }
        self.recent.keep(known.sha256, bytes.clone(), now);
        Ok(Some(Content::Memory(bytes)))
    }

    /// The file, if it is here and whole. One that has not the digest of its name is removed, so that it is fetched
    /// again.
    pub(crate) async fn open(&self, known: &Known) -> Result<Option<File>, CacheError> {
        let Some(file) = self.store.open(&known.sha256)? else { return Ok(None) };
        let path = self.store.path(&known.sha256);
        let meta = file.metadata().map_err(|source| CacheError::Io { act: "look at", path, source })?;
        let stamp = FileStamp::of(&meta);
        if meta.len() != known.size {
            return Ok(None);
        }
        if self.stamp(&known.sha256).as_ref() == Some(&stamp) {
            return Ok(Some(file));
        }
        let (store, digest) = (self.store.clone(), known.sha256);
        let verified = spawn_blocking(move || store.verify_watched(&digest)).await;
        match verified.expect("reading does not panic")? {
            Some(stamp) => {
                self.remember(known.sha256, stamp);
                Ok(Some(file))
            }
            None => self.store.remove(&known.sha256).map(|()| None),
        }
    }

    /// How a file looked when it was read.
    fn stamp(&self, digest: &Sha256) -> Option<FileStamp> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// One that was written a moment ago has no stamp: it might be written again without looking any different.
    fn remember(&self, digest: Sha256, stamp: Option<FileStamp>) {
        if let Some(stamp) = stamp {
            self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, stamp);
        }
    }
}
