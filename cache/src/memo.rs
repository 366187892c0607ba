//! What a file looked like when its digest was computed, so that an unchanged file costs one `stat`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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
