//! What a file looked like when its digest was computed, so that an unchanged file costs one `stat`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::record::whole_bytes;
use crate::{BlobId, Record};

/// File systems stamp times in ticks of up to ten milliseconds, some remote ones in whole seconds.
const RACY: Duration = Duration::from_secs(2);

/// A file's identity and times as `stat` tells them. Two equal stamps mean equal content, unless the file was
/// written again within the tick in which it was read: see [`FileStamp::is_settled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl FileStamp {
    /// The stamp of an open or listed file.
    pub fn of(meta: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.len(),
            mtime_ns: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether the last change is so old, seen from `now`, that another one would have moved the times. Git
    /// calls the other case racy; a racy stamp must not be remembered.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as i128);
        now - self.mtime_ns.max(self.ctime_ns) > RACY.as_nanos() as i128
    }

    /// Where the memo of this file is kept.
    pub fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.dev.to_be_bytes());
        key[8..].copy_from_slice(&self.ino.to_be_bytes());
        key
    }
}

/// A digest with the stamp it is valid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoEntry {
    /// When the file was read.
    pub stamp: FileStamp,
    /// What its bytes were.
    pub digest: BlobId,
}

impl Record for MemoEntry {
    const SCHEMA: u16 = 1;
}

/// The digests of the files directly in a directory: one row for all of them, because looking for a row costs more than
/// looking at a file. It is kept under the directory's own key, and each file's stamp decides whether it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DirectoryMemo {
    /// By name.
    files: Vec<KnownFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownFile {
    #[serde(with = "whole_bytes")]
    name: Vec<u8>,
    entry: MemoEntry,
}

/// Another number than [`MemoEntry`]'s: a file may get the inode of a directory that is gone.
impl Record for DirectoryMemo {
    const SCHEMA: u16 = 2;
}

impl DirectoryMemo {
    /// What is known of files, in any order, each once.
    pub fn new(files: impl IntoIterator<Item = (Vec<u8>, MemoEntry)>) -> Self {
        let files = files.into_iter().map(|(name, entry)| KnownFile { name, entry });
        let mut files: Vec<_> = files.collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self { files }
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What is known of the file of this name, whatever it looks like.
    pub fn entry(&self, name: &[u8]) -> Option<&MemoEntry> {
        let place = self.files.binary_search_by(|known| known.name.as_slice().cmp(name)).ok()?;
        Some(&self.files[place].entry)
    }

    /// The digest of the file of this name, if it looks as it did when it was read.
    pub fn digest(&self, name: &[u8], stamp: &FileStamp) -> Option<BlobId> {
        let entry = self.entry(name)?;
        (entry.stamp == *stamp).then_some(entry.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_is_racy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = FileStamp::of(&file.as_file().metadata().unwrap());
        assert!(!stamp.is_settled(SystemTime::now()));
        assert!(stamp.is_settled(SystemTime::now() + RACY * 2));
    }

    #[test]
    fn a_directory_knows_its_files_by_name_and_stamp() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = FileStamp::of(&file.as_file().metadata().unwrap());
        let entry = |n| MemoEntry { stamp: stamp.clone(), digest: BlobId::from_bytes([n; 32]) };
        let memo = DirectoryMemo::new(vec![(b"b".to_vec(), entry(2)), (b"a".to_vec(), entry(1))]);
        assert_eq!(memo.digest(b"a", &stamp), Some(BlobId::from_bytes([1; 32])));
        assert_eq!(memo.digest(b"c", &stamp), None);
        let other = FileStamp { size: 7, ..stamp.clone() };
        assert_eq!(memo.digest(b"a", &other), None);
        assert_eq!(MemoEntry::from_bytes(&memo.to_bytes()), None);
        assert_eq!(DirectoryMemo::from_bytes(&entry(1).to_bytes()), None);
    }

    #[test]
    fn a_change_of_mode_moves_the_stamp() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = FileStamp::of(&file.as_file().metadata().unwrap());
        std::thread::sleep(Duration::from_millis(20));
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(before, FileStamp::of(&file.as_file().metadata().unwrap()));
    }
}
