//! The index on disk. The only file that names RocksDB.
//!
//! A RocksDB directory has one writer at a time. Readers open it read-only, which sees everything committed at
//! that moment and waits for nobody; a writer takes `index.lock`, opens, writes one synced batch, flushes and
//! closes, so that it holds the lock for milliseconds and never over a stage.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use rocksdb::{
    BottommostLevelCompaction, CompactOptions, DB, Direction, IteratorMode, LogLevel, Options, WriteBatch,
    WriteOptions,
};
use tracing::debug;

use crate::hints::Hints;
use crate::index::Rows;
use crate::{Batch, CacheError, FileLock, Index, Layout, LockMode, Table};

/// How often a reader tries again when a writer replaced files under it.
const READ_TRIES: u32 = 5;

/// Bytes from which on a row lies in a file of its own kind, which tables point into.
const LONG_ROW: u64 = 512 << 10;

/// Facts in a RocksDB directory.
pub struct RocksIndex {
    path: PathBuf,
    lock: PathBuf,
    reader: Mutex<Option<Arc<DB>>>,
    hints: Mutex<Hints>,
}

impl RocksIndex {
    /// The index of a store. Nothing is opened before the first use.
    pub fn new(layout: &Layout) -> Self {
        Self {
            path: layout.index(),
            lock: layout.index_lock(),
            reader: Mutex::default(),
            hints: Mutex::default(),
        }
    }

    fn error(&self, act: &'static str) -> impl Fn(rocksdb::Error) -> CacheError {
        let path = self.path.clone();
        move |e| {
            let reason = e.into_string();
            match refusal(&reason) {
                Some(source) => CacheError::io(act, &path)(source),
                None => CacheError::Index { act, path: path.clone(), reason },
            }
        }
    }

    /// Whether anything was ever written. Where the file is gone that everything else is found from, RocksDB would begin anew and
    /// remove what it does not know: all facts would be lost without a word. Tables are first written after that file.
    fn is_begun(&self) -> Result<bool, CacheError> {
        const CURRENT: &str = "CURRENT";
        if self.path.join(CURRENT).exists() {
            return Ok(true);
        }
        let mut files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        if files.any(|file| file.path().extension().is_some_and(|kind| kind == "sst")) {
            let reason = format!("there are tables, but no `{CURRENT}`");
            return Err(CacheError::Index { act: "open", path: self.path.clone(), reason });
        }
        Ok(false)
    }

    /// A read-only handle, kept until the next commit or refresh; `None` as long as nothing was ever written.
    fn reader(&self) -> Result<Option<Arc<DB>>, CacheError> {
        let mut reader = self.reader.lock().expect("no panic while held");
        if reader.is_none() && self.is_begun()? {
            let db = DB::open_for_read_only(&options(), &self.path, false).map_err(self.error("open"))?;
            *reader = Some(Arc::new(db));
        }
        Ok(reader.clone())
    }

    fn hints(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().expect("no panic while held")
    }

    /// What a commit writes, and the number of the last hint in it.
    fn writes(&self, batch: Batch) -> (WriteBatch, u64) {
        let mut hints = self.hints();
        let mut writes = WriteBatch::default();
        let changes: Vec<_> =
            batch.changes.into_iter().map(|(table, key, value)| (row(table, &key), value)).collect();
        changes.iter().for_each(|(row, _)| hints.remove(row));
        hints.beginning_with(b"").for_each(|(row, value)| writes.put(row, value));
        for (row, value) in changes {
            match value {
                Some(value) => writes.put(row, value),
                None => writes.delete(row),
            }
        }
        (writes, hints.last())
    }

    /// Writes the batch and all hints, at once.
    fn write(&self, batch: Batch) -> Result<(), CacheError> {
        debug!(changes = batch.changes.len(), "commits to the index");
        let _lock = FileLock::take(&self.lock, LockMode::Wait)?;
        fs::create_dir_all(&self.path).map_err(CacheError::io("create", &self.path))?;
        self.is_begun()?;
        let db = DB::open(&options(), &self.path).map_err(self.error("open"))?;
        let (writes, last_hint) = self.writes(batch);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        db.write_opt(writes, &synced).map_err(self.error("write"))?;
        // Without this every later reader would replay the write-ahead log.
        db.flush().map_err(self.error("flush"))?;
        drop(db);
        self.refresh();
        self.hints().written(last_hint);
        Ok(())
    }

    /// A writer in another process may delete a file between a reader's list of files and its opening them:
    /// opening anew then sees the new list.
    fn read<T>(
        &self,
        mut read: impl FnMut(&DB) -> Result<T, rocksdb::Error>,
    ) -> Result<Option<T>, CacheError> {
        for _ in 1..READ_TRIES {
            let attempt = match self.reader() {
                Ok(Some(db)) => read(&db).map_err(self.error("read")),
                Ok(None) => return Ok(None),
                Err(e) => Err(e),
            };
            if let Ok(found) = attempt {
                return Ok(Some(found));
            }
            self.refresh();
        }
        match self.reader()? {
            Some(db) => read(&db).map(Some).map_err(self.error("read")),
            None => Ok(None),
        }
    }
}

impl Index for RocksIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        let row = row(table, key);
        if let Some(hint) = self.hints().get(&row) {
            return Ok(Some(hint.to_vec()));
        }
        Ok(self.read(|db| db.get(&row))?.flatten())
    }

    fn view(&self, table: Table, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), CacheError> {
        let row = row(table, key);
        let hint = self.hints().get(&row).map(<[u8]>::to_vec);
        match hint {
            Some(hint) => see(&hint),
            None => drop(self.read(|db| Ok(db.get_pinned(&row)?.as_deref().map(&mut *see)))?),
        }
        Ok(())
    }

    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Rows, CacheError> {
        let first = row(table, prefix);
        let rows = self.read(|db| {
            let rows = db.iterator(IteratorMode::From(&first, Direction::Forward));
            let within = rows.take_while(|row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&first)));
            within.map(|row| row.map(|(key, value)| (key[1..].to_vec(), value.to_vec()))).collect()
        })?;
        let mut rows: BTreeMap<_, _> = rows.unwrap_or_default();
        rows.extend(
            self.hints().beginning_with(&first).map(|(row, value)| (row[1..].to_vec(), value.to_vec())),
        );
        Ok(rows.into_iter().collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), CacheError> {
        match batch.is_empty() {
            true => Ok(()),
            false => self.write(batch),
        }
    }

    fn hint(&self, table: Table, key: &[u8], value: Vec<u8>) {
        self.hints().put(row(table, key), value);
    }

    fn commit_hints(&self) -> Result<(), CacheError> {
        let is_empty = self.hints().is_empty();
        match is_empty {
            true => Ok(()),
            false => self.write(Batch::default()),
        }
    }

    fn compact(&self) -> Result<(), CacheError> {
        if !self.is_begun()? {
            return Ok(());
        }
        let _lock = FileLock::take(&self.lock, LockMode::Wait)?;
        let mut options = options();
        // All that nobody can read any more goes, wherever it lies.
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(1.0);
        let db = DB::open(&options, &self.path).map_err(self.error("open"))?;
        let mut all = CompactOptions::default();
        // A file that nothing was removed from since it was written would else be left as it is.
        all.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &all);
        drop(db);
        self.refresh();
        Ok(())
    }

    fn refresh(&self) {
        *self.reader.lock().expect("no panic while held") = None;
    }
}

/// What the file system answered, where that is at fault and not the index: a full disk must not look like a broken
/// index. RocksDB tells it in words only, which are the system's own.
fn refusal(reason: &str) -> Option<io::Error> {
    let errors = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EACCES, libc::EMFILE];
    errors.into_iter().map(io::Error::from_raw_os_error).find(|error| {
        let words = error.to_string();
        reason.contains(words.split(" (os error").next().unwrap_or(&words))
    })
}

fn row(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(table as u8);
    row.extend_from_slice(key);
    row
}

/// Left alone, RocksDB keeps a log file per opening and starts threads for work that we never have.
fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Error);
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_background_jobs(1);
    options.set_write_buffer_size(4 << 20);
    // In one shard: of many, each has room for one table, and two that meet there are opened anew for every row.
    options.set_table_cache_num_shard_bits(0);
    options.set_max_open_files(256);
    // What it would take of a disk in advance, at each opening, is many times what a commit writes.
    options.set_max_total_wal_size(256 << 10);
    options.set_manifest_preallocation_size(64 << 10);
    // A handful of files does not need the sixteen threads that would open them.
    options.set_max_file_opening_threads(1);
    // Each opening leaves a table, and every fourth merges them all. Long rows stay where they are meanwhile.
    options.set_enable_blob_files(true);
    options.set_min_blob_size(LONG_ROW);
    options
}

#[cfg(test)]
mod tests;
