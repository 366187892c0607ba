//! Files on their way to a name. Each is locked by its writer as long as there is one, so that what a killed process has
//! left can be told from what is being written.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::CacheError;

/// A new file in `dir`, locked.
pub(crate) fn create(dir: &Path) -> Result<NamedTempFile, CacheError> {
    loop {
        let temp = NamedTempFile::new_in(dir).map_err(CacheError::io("create a file in", dir))?;
        let locked = temp.as_file().lock().and_then(|()| temp.as_file().metadata());
        // Who sweeps may have come between the making and the locking, and removed the file.
        if locked.map_err(CacheError::io("lock", temp.path()))?.nlink() > 0 {
            return Ok(temp);
        }
    }
}

/// Removes a file that has no writer any more. The lock is held meanwhile, so that nobody else takes the file for theirs.
pub fn sweep(path: &Path) -> Result<(), CacheError> {
    let swept = File::open(path).and_then(|file| match file.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(e)) => Err(e),
    });
    match swept {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let temp = create(dir.path()).unwrap();
        sweep(temp.path()).unwrap();
        assert!(temp.path().exists());
        // As if the process had been killed: the lock is gone, the file is not.
        let (_, path) = temp.keep().unwrap();
        sweep(&path).unwrap();
        assert!(!path.exists());
        sweep(&path).unwrap();
    }
}
