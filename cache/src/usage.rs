//! What a directory really takes of the disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::CacheError;

/// Files and the blocks that they occupy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Everything that is no directory, each file once, however many names it has.
    pub files: u64,
    /// Bytes of occupied blocks, those of directories included: holes take nothing.
    pub bytes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

impl Usage {
    /// Measures a directory, or a file. What is not there, or goes away meanwhile, takes nothing.
    pub fn of(path: &Path) -> Result<Self, CacheError> {
        let mut usage = Self::default();
        usage.add(path, &mut HashSet::new())?;
        Ok(usage)
    }

    fn add(&mut self, path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<(), CacheError> {
        let Some(meta) = if_there(fs::symlink_metadata(path)).map_err(CacheError::io("look at", path))?
        else {
            return Ok(());
        };
        if meta.nlink() > 1 && !meta.is_dir() && !seen.insert((meta.dev(), meta.ino())) {
            return Ok(());
        }
        self.bytes += meta.blocks() * 512;
        if !meta.is_dir() {
            self.files += 1;
            return Ok(());
        }
        let Some(entries) = if_there(fs::read_dir(path)).map_err(CacheError::io("read", path))? else {
            return Ok(());
        };
        for entry in entries {
            self.add(&entry.map_err(CacheError::io("read", path))?.path(), seen)?;
        }
        Ok(())
    }
}

fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_second_names_take_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Usage::of(&dir.path().join("absent")).unwrap(), Usage::default());
        let empty = Usage::of(dir.path()).unwrap();
        let file = fs::File::create(dir.path().join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs::hard_link(dir.path().join("sparse"), dir.path().join("again")).unwrap();
        let usage = Usage::of(dir.path()).unwrap();
        assert_eq!((empty.files, usage.files), (0, 1));
        assert!(usage.bytes < 1 << 20, "{usage:?}");
    }
}
