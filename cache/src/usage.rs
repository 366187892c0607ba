//! What a directory really takes of the disk.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::{CacheError, each_below};

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
        let (mut usage, mut seen) = (Self::default(), HashSet::new());
        match rustix::fs::lstat(path) {
            Ok(stat) => usage.add(&stat, &mut seen),
            Err(Errno::NOENT) => return Ok(usage),
            Err(e) => return Err(CacheError::io("look at", path)(e.into())),
        }
        let looked = each_below(path, |stat| usage.add(stat, &mut seen));
        looked.map(|()| usage).map_err(|e| CacheError::io("read", path)(e.into()))
    }

    fn add(&mut self, stat: &Stat, seen: &mut HashSet<(u64, u64)>) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if stat.st_nlink > 1 && !is_dir && !seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.bytes += stat.st_blocks as u64 * 512;
        self.files += u64::from(!is_dir);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
