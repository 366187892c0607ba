//! The digests of what files hold, found by several threads before one of them walks the tree.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, Cancel};
use rayon::prelude::*;

use super::allocated::{is_all, parts};
use super::change::join;
use super::digest::open_file;
use super::inode_flags::InodeFlags;
use super::links::Shared;
use super::settle::{has_other_blocks, settle};
use super::volatile::VolatileList;
use super::{SnapshotError, depth, digest};

/// The digests by inode, so that a file with several names is read once.
pub(super) struct InodeDigests {
    found: HashMap<u64, BlobId>,
    reader: Reader,
}

/// What reading a file takes.
struct Reader {
    flags: InodeFlags,
    cancel: Cancel,
}

impl InodeDigests {
    /// Reads all files below `dir` but those that will not be kept. Tells which of them have several names, too.
    pub(super) fn below(
        dir: &Path,
        volatile: &VolatileList,
        cancel: &Cancel,
    ) -> Result<(Self, Shared), SnapshotError> {
        let (mut files, mut shared) = (HashMap::new(), Shared::default());
        collect(dir, volatile, &mut files, &mut shared)?;
        let reader = Reader { flags: InodeFlags::below(dir)?, cancel: cancel.clone() };
        // A file that cannot be read is asked for again, by somebody who needs it and can tell.
        let named = |(inode, path): (u64, PathBuf)| Some((inode, reader.settled(&path, b"").ok()?));
        let found = files.into_par_iter().filter_map(named).collect();
        Ok((Self { found, reader }, shared))
    }

    /// The digest of the file at `path` of the layer. It has no [flags](InodeFlags) that its copy would not have.
    pub(super) fn of(&self, disk: &Path, path: &[u8], meta: &fs::Metadata) -> Result<BlobId, SnapshotError> {
        self.found.get(&meta.ino()).map_or_else(|| self.reader.settled(disk, path), |content| Ok(*content))
    }

    /// Sees to the flags of a directory, which has no content.
    pub(super) fn settle_directory(&self, disk: &Path, path: &[u8]) -> Result<(), SnapshotError> {
        self.reader.flags.settle_directory(disk, path)
    }
}

fn collect(
    top: &Path,
    volatile: &VolatileList,
    files: &mut HashMap<u64, PathBuf>,
    shared: &mut Shared,
) -> Result<(), SnapshotError> {
    let mut waiting = vec![(top.to_owned(), Vec::new())];
    while let Some((dir, path)) = waiting.pop() {
        let error = || SnapshotError::io("read", &dir);
        for entry in fs::read_dir(&dir).map_err(error())? {
            let entry = entry.map_err(error())?;
            let kind = entry.file_type().map_err(error())?;
            let path = join(&path, &entry.file_name().into_vec());
            depth::check(&path)?;
            if kind.is_dir() {
                waiting.push((entry.path(), path));
            } else if kind.is_file() && !volatile.contains(&path) {
                let before = files.insert(entry.ino(), entry.path());
                let within =
                    |first: PathBuf| first.strip_prefix(top).map(|name| name.as_os_str().as_bytes().to_vec());
                if let Some(Ok(first)) = before.map(within) {
                    shared.note(entry.ino(), || first, &path);
                }
            }
        }
    }
    Ok(())
}

impl Reader {
    /// The name of what a captured file holds, of which everybody sees the same holes and flags afterwards.
    fn settled(&self, disk: &Path, path: &[u8]) -> Result<BlobId, SnapshotError> {
        let file = open_file(disk)?;
        self.flags.settle(&file, path)?;
        let name = || {
            let meta = file.metadata()?;
            let size = meta.len();
            let mut found = parts(&file, size)?;
            if !is_all(&found, size) || has_other_blocks(&meta) {
                settle(disk, &file, &self.cancel)?;
                found = parts(&file, size)?;
            }
            digest::name(&file, size, &found, &self.cancel)
        };
        name().map_err(SnapshotError::io("read", disk))
    }
}
