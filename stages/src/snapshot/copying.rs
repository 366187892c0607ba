//! Copies of single files: checked against a digest while they are copied, or with the holes that they have.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::{BlobId, Digest};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, SeekFrom};

/// Read and written at once.
const BUFFER: u64 = 256 << 10;

/// A file or directory whose files are to be copied, held open: what takes its path afterwards is not read.
pub(crate) struct SourceRoot(OwnedFd);

impl SourceRoot {
    /// Opens what `path` names, which is no link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// A regular file below it, on the way to which there is no link; of an empty path itself.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        if path.as_os_str().is_empty() {
            return Ok(self.0.try_clone()?.into());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve)?.into())
    }
}

/// Whether a copy has the bytes that it was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copying {
    /// It has.
    Verified,
    /// Its original has others by now. What was written of the copy is of no use.
    Changed,
}

/// Copies a file of the project, whose `size` bytes are to have the digest `content`. The copy has no holes: those of a
/// checkout are an accident.
pub(crate) fn copy_verified(from: &File, to: &File, size: u64, content: &BlobId) -> io::Result<Copying> {
    let meta = from.metadata()?;
    if !meta.is_file() || meta.len() != size {
        return Ok(Copying::Changed);
    }
    let mut hasher = <BlobId as Digest>::Hasher::default();
    let mut buffer = vec![0; size.clamp(1, BUFFER) as usize];
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(BUFFER) as usize;
        match from.read_exact_at(&mut buffer[..length], offset) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Copying::Changed),
            read => read?,
        }
        BlobId::update(&mut hasher, &buffer[..length]);
        to.write_all_at(&buffer[..length], offset)?;
        offset += length as u64;
    }
    Ok(if BlobId::finish(hasher) == *content { Copying::Verified } else { Copying::Changed })
}

/// Copies a file of a snapshot, its holes as holes, on every file system alike.
pub(crate) fn copy_with_holes(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut buffer = vec![0; size.clamp(1, BUFFER) as usize];
    let mut offset = 0;
    while let Some(start) = seek(from, SeekFrom::Data(offset))? {
        let end = seek(from, SeekFrom::Hole(start))?.unwrap_or(size);
        offset = start;
        while offset < end {
            let length = (end - offset).min(BUFFER) as usize;
            from.read_exact_at(&mut buffer[..length], offset)?;
            to.write_all_at(&buffer[..length], offset)?;
            offset += length as u64;
        }
    }
    Ok(())
}

/// Where the next data or hole is; none behind the last data.
fn seek(file: &File, to: SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, to) {
        Ok(offset) => Ok(Some(offset)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn digest(bytes: &[u8]) -> BlobId {
        let mut hasher = <BlobId as Digest>::Hasher::default();
        BlobId::update(&mut hasher, bytes);
        BlobId::finish(hasher)
    }

    #[test]
    fn only_the_bytes_of_the_digest_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "one").unwrap();
        let root = SourceRoot::open(dir.path()).unwrap();
        let from = root.open_file(Path::new("a")).unwrap();
        let copy = |content: &[u8]| {
            let to = tempfile::tempfile().unwrap();
            copy_verified(&from, &to, content.len() as u64, &digest(content)).unwrap()
        };
        assert_eq!(copy(b"one"), Copying::Verified);
        assert_eq!(copy(b"two"), Copying::Changed);
        assert_eq!(copy(b"on"), Copying::Changed);
        assert_eq!(copy(b"one more"), Copying::Changed);
    }

    #[test]
    fn no_link_leads_out_of_a_source() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inside")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        symlink("../secret", dir.path().join("inside/link")).unwrap();
        symlink("..", dir.path().join("inside/up")).unwrap();
        let root = SourceRoot::open(&dir.path().join("inside")).unwrap();
        for path in ["link", "up/secret", "../secret", "/etc/passwd"] {
            assert!(root.open_file(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn holes_stay_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"data", 32 << 20).unwrap();
        copy_with_holes(&from, &to).unwrap();
        let mut bytes = [0; 4];
        to.read_exact_at(&mut bytes, 32 << 20).unwrap();
        assert_eq!((&bytes, to.metadata().unwrap().len()), (b"data", 64 << 20));
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
    }
}
