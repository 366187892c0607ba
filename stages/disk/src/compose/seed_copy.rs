//! The second file of a target, made together with the first.
//!
//! The next image can be written over it, and costs only what differs ([`Destination`](super::Destination)).

use std::fs::File;
use std::path::{Path, PathBuf};

use super::write;
use crate::error::DiskError;

/// A second file with the same bytes. It is not worth a failure: without room for it there is none.
pub struct SeedCopy {
    path: PathBuf,
    pub(super) file: File,
}

impl SeedCopy {
    /// A new file.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        let file = File::create_new(path).map_err(DiskError::io("create", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes into the seed copy, and gives it up if that fails.
    pub fn put(seed_copy: &mut Option<Self>, at: u64, bytes: &[u8]) {
        if let Some(there) = seed_copy
            && write(&there.file, at, bytes).is_err()
        {
            Self::give_up(seed_copy);
        }
    }

    /// Removes it, and tells whether there was one.
    pub fn give_up(seed_copy: &mut Option<Self>) -> bool {
        seed_copy.take().is_some_and(|seed_copy| std::fs::remove_file(seed_copy.path).is_ok())
    }
}
