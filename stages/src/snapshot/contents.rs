//! The digests of what files hold, found by several threads before one of them walks the tree.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, Digest};
use rayon::prelude::*;

use super::capture::join;
use super::links::Shared;
use super::volatile::VolatileList;
use super::{SnapshotError, depth};

/// The digests by inode, so that a file with several names is read once.
pub(super) struct Contents(HashMap<u64, BlobId>);

impl Contents {
    /// Reads all files below `dir` but those that will not be kept. Tells which of them have several names, too.
    pub(super) fn below(dir: &Path, volatile: &VolatileList) -> Result<(Self, Shared), SnapshotError> {
        let (mut files, mut shared) = (HashMap::new(), Shared::default());
        collect(dir, volatile, &mut files, &mut shared)?;
        // A file that cannot be read is asked for again, by somebody who needs it and can tell.
        let hashed = files.into_par_iter().filter_map(|(inode, path)| Some((inode, hash_file(&path).ok()?)));
        Ok((Self(hashed.collect()), shared))
    }

    /// The digest of a file.
    pub(super) fn of(&self, disk: &Path, meta: &fs::Metadata) -> Result<BlobId, SnapshotError> {
        self.0.get(&meta.ino()).map_or_else(|| hash_file(disk), |content| Ok(*content))
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

/// The digest of a regular file's bytes.
pub(crate) fn hash_file(path: &Path) -> Result<BlobId, SnapshotError> {
    let mut options = fs::OpenOptions::new();
    let open = options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path);
    let mut file = open.map_err(SnapshotError::io("open", path))?;
    hash_open_file(&mut file).map_err(SnapshotError::io("read", path))
}

/// With a buffer no larger than the file, because most files are small and fresh memory costs more than they do.
fn hash_open_file(file: &mut File) -> io::Result<BlobId> {
    const MOST: u64 = 256 << 10;
    let mut hasher = <BlobId as Digest>::Hasher::default();
    let mut buffer = vec![0; (file.metadata()?.len() + 1).min(MOST) as usize];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(BlobId::finish(hasher)),
            length => BlobId::update(&mut hasher, &buffer[..length]),
        }
    }
}
