//! Copies of single files: checked against a digest while they are copied, or with the holes that they have.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::{BlobId, Digest};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::allocated::parts;

/// Size and alignment of holes that are made of zeros.
const BLOCK: u64 = 64 << 10;

/// Bytes that are read at once.
const PIECE: u64 = 4 * BLOCK;

/// A file or directory whose files are to be copied, held open: what takes its path afterwards is not read.
pub struct SourceRoot(OwnedFd);

impl SourceRoot {
    /// Opens what `path` names, which is no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// A regular file below it, on the way to which there is no link; of an empty path itself.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
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
pub enum Copying {
    /// It has.
    Verified,
    /// Its original has others by now. What was written of the copy is of no use.
    Changed,
}

/// Copies a file of the project, whose `size` bytes are to have the digest `content`, to a new file. A file of the project is
/// its bytes: where it has holes is up to the file system that the project lies on, so the copy has one for each block of
/// zeros.
pub fn copy_verified(from: &File, to: &File, size: u64, content: &BlobId) -> io::Result<Copying> {
    let meta = from.metadata()?;
    if !meta.is_file() || meta.len() != size {
        return Ok(Copying::Changed);
    }
    if size >= BLOCK {
        to.set_len(size)?;
    }
    let mut hasher = <BlobId as Digest>::Hasher::default();
    let mut buffer = Vec::new();
    for start in (0..size).step_by(PIECE as usize) {
        buffer.resize((size - start).min(PIECE) as usize, 0);
        match from.read_exact_at(&mut buffer, start) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Copying::Changed),
            read => read?,
        }
        BlobId::update(&mut hasher, &buffer);
        write_without_zeros(to, start, &buffer)?;
    }
    Ok(if BlobId::finish(hasher) == *content { Copying::Verified } else { Copying::Changed })
}

fn write_without_zeros(to: &File, start: u64, bytes: &[u8]) -> io::Result<()> {
    let places = (start..).step_by(BLOCK as usize);
    for (at, block) in places.zip(bytes.chunks(BLOCK as usize)) {
        let is_hole = block.len() as u64 == BLOCK && block.iter().all(|byte| *byte == 0);
        if !is_hole {
            to.write_all_at(block, at)?;
        }
    }
    Ok(())
}

/// Copies a file of a snapshot to a new file, its holes as holes, on every file system alike.
pub fn copy_with_holes(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    // First, because a file system may fill what lies between two writes that make a file longer.
    to.set_len(size)?;
    let mut buffer = Vec::new();
    for part in parts(from, size)? {
        for start in part.clone().step_by(PIECE as usize) {
            buffer.resize((part.end - start).min(PIECE) as usize, 0);
            from.read_exact_at(&mut buffer, start)?;
            to.write_all_at(&buffer, start)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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

    const KIB: u64 = 1 << 10;

    fn sparse(size: u64, writes: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.set_len(size).unwrap();
        writes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        file
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn data(file: &File) -> Vec<std::ops::Range<u64>> {
        parts(file, file.metadata().unwrap().len()).unwrap()
    }

    #[test]
    fn a_copy_of_another_root_file_system_has_the_same_holes() {
        let zeros = vec![0; 200 << 10];
        for (size, writes) in [
            (0, &[][..]),
            (5, &[(0, &b"small"[..])][..]),
            (200 * KIB, &[(0, &zeros[..])]),
            (900 * KIB, &[]),
            (900 * KIB, &[(100 * KIB, b"x"), (300 * KIB, &zeros[..])]),
        ] {
            let (from, to) = (sparse(size, writes), sparse(0, &[]));
            copy_with_holes(&from, &to).unwrap();
            assert_eq!((data(&to), bytes(&to) == bytes(&from)), (data(&from), true), "{size}");
        }
    }

    /// Bytes alone count.
    #[test]
    fn a_copy_from_the_project_does_not_show_where_that_lies() {
        let copied = |from: &File| {
            let (to, bytes_of_it) = (sparse(0, &[]), bytes(from));
            let size = bytes_of_it.len() as u64;
            let copying = copy_verified(from, &to, size, &digest(&bytes_of_it)).unwrap();
            assert_eq!((copying, bytes(&to) == bytes_of_it), (Copying::Verified, true));
            data(&to)
        };
        for (size, written) in [(0, vec![]), (KIB, vec![7]), (700 * KIB + 3, vec![200 * KIB, 699 * KIB])] {
            let writes: Vec<(u64, &[u8])> = written.iter().map(|at| (*at, &b"x"[..])).collect();
            let holes = sparse(size, &writes);
            let full = sparse(0, &[(0, &bytes(&holes))]);
            assert_eq!(copied(&holes), copied(&full), "{size}");
        }
        let holes = sparse(700 * KIB + 3, &[(200 * KIB, b"x"), (699 * KIB, b"x")]);
        assert_eq!(copied(&holes), [192 * KIB..256 * KIB, 640 * KIB..700 * KIB + 3]);
    }
}
