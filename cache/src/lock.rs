//! Locks between processes. The kernel lets go of them when their holder dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::CacheError;

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Until it is free.
    Wait,
    /// Not at all.
    Try,
}

/// What became of trying to take the lock of a file that somebody may remove.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It was free, and is ours now.
    Taken(FileLock),
    /// Somebody holds it.
    Held,
    /// There is no such file.
    Absent,
}

/// A lock on a file or directory, held until dropped.
#[must_use = "the lock is held only as long as this value lives"]
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock; `None` if it is held and `mode` is [`LockMode::Try`]. The file keeps the holder's process
    /// id, for messages.
    pub fn take(path: &Path, mode: LockMode) -> Result<Option<Self>, CacheError> {
        let file = open(path)?;
        match mode {
            LockMode::Wait => file.lock().map_err(CacheError::io("lock", path))?,
            LockMode::Try => match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(CacheError::io("lock", path)(e)),
            },
        }
        // Only for messages: on a full disk the lock has to do without.
        let _ = file.set_len(0).and_then(|()| write!(&file, "{}", std::process::id()));
        Ok(Some(Self { _file: file }))
    }

    /// Locks a directory that was just made; `None` if who cleans up has removed it before it was locked.
    pub(crate) fn of_new_dir(dir: &Path) -> Result<Option<Self>, CacheError> {
        let locked = File::open(dir).and_then(|file| file.lock().map(|()| file));
        let there =
            locked.and_then(|file| Ok((identity(&file.metadata()?), identity(&fs::metadata(dir)?), file)));
        match there {
            Ok((locked, named, file)) => Ok((locked == named).then_some(Self { _file: file })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CacheError::io("lock", dir)(e)),
        }
    }

    /// Takes the lock of a file or directory if that is there and nobody holds it. Makes nothing.
    pub(crate) fn try_existing(path: &Path) -> Result<Tried, CacheError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Tried::Absent),
            Err(e) => return Err(CacheError::io("open", path)(e)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Tried::Taken(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(Tried::Held),
            Err(TryLockError::Error(e)) => Err(CacheError::io("lock", path)(e)),
        }
    }

    /// Takes the lock together with all others who share it, so that nobody can take it alone; `None` if somebody
    /// has and `mode` is [`LockMode::Try`]. A lock that is there is only read, so that what cannot be written can be
    /// shared.
    pub fn share(path: &Path, mode: LockMode) -> Result<Option<Self>, CacheError> {
        let file = File::open(path).or_else(|_| open(path))?;
        match mode {
            LockMode::Wait => file.lock_shared().map_err(CacheError::io("lock", path))?,
            LockMode::Try => match file.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(CacheError::io("lock", path)(e)),
            },
        }
        Ok(Some(Self { _file: file }))
    }

    /// The processes that hold the lock of a file, together or alone, as far as the kernel shows them to this process.
    pub fn holders(path: &Path) -> Vec<u32> {
        let Ok(meta) = fs::metadata(path) else { return Vec::new() };
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        holders_among(&locks, meta.ino())
    }

    /// The process that holds the lock, as far as its file tells.
    pub fn holder(path: &Path) -> Option<u32> {
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }
}

/// Out of lines like `1: FLOCK  ADVISORY  READ 25 08:01:131 0 EOF` (proc_locks(5)). Who waits has an arrow there. A file
/// system may call its device otherwise there than in the file's status, so the inode has to do.
fn holders_among(locks: &str, inode: u64) -> Vec<u32> {
    let holder = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields.as_slice() else { return None };
        let found = file.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|pid| found && *pid > 0)
    };
    let mut holders: Vec<u32> = locks.lines().filter_map(holder).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn open(path: &Path) -> Result<File, CacheError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).open(path).map_err(CacheError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_those_of_the_file() {
        let locks = "1: FLOCK  ADVISORY  READ 25 08:01:131 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 26 08:01:131 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 27 08:01:131 0 EOF\n3: FLOCK  ADVISORY  WRITE 28 08:01:132 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 7 08:01:131 0 EOF\n5: FLOCK  ADVISORY  READ -1 08:01:131 0 EOF\n";
        assert_eq!(holders_among(locks, 131), [7, 25]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _shared = FileLock::share(&path, LockMode::Try).unwrap();
        assert_eq!(FileLock::holders(&path), [std::process::id()]);
    }

    #[test]
    fn a_held_lock_is_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::take(&path, LockMode::Try).unwrap();
        assert!(held.is_some());
        assert!(FileLock::take(&path, LockMode::Try).unwrap().is_none());
        assert_eq!(FileLock::holder(&path), Some(std::process::id()));
        drop(held);
        assert!(FileLock::take(&path, LockMode::Wait).unwrap().is_some());
    }

    #[test]
    fn a_shared_lock_keeps_away_who_wants_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let shared = [(); 2].map(|()| FileLock::share(&path, LockMode::Try).unwrap().unwrap());
        assert!(FileLock::take(&path, LockMode::Try).unwrap().is_none());
        drop(shared);
        let alone = FileLock::take(&path, LockMode::Try).unwrap();
        assert!(alone.is_some() && FileLock::share(&path, LockMode::Try).unwrap().is_none());
    }
}
