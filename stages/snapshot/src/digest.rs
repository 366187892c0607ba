//! The names of what files hold.
//!
//! A file that has no hole is named by all of its bytes. One that has holes is named by where they are and by the bytes
//! between them, so that naming it takes as long as what it holds, whatever its size is.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ibuild_cache::{BlobId, Cancel, Digest, Encoder};

use super::SnapshotError;
use super::allocated::{is_all, parts};

/// Changes whenever files with holes are named in another way.
const DOMAIN: &str = "ibuild file with holes v1";

/// Most bytes that are read at once. The buffer is no larger than the file: most files are small, and fresh memory costs more than
/// they do.
const PIECE: u64 = 256 << 10;

/// Opens a file, but not what a link points to.
pub fn open_file(path: &Path) -> Result<File, SnapshotError> {
    let mut options = OpenOptions::new();
    let open = options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path);
    open.map_err(SnapshotError::io("open", path))
}

/// The name of what a file of a layer holds. Moves its cursor.
pub fn content_of(file: &File, cancel: &Cancel) -> io::Result<BlobId> {
    let size = file.metadata()?.len();
    name(file, size, &parts(file, size)?, cancel)
}

/// The name of what a file holds that has these parts.
pub(super) fn name(file: &File, size: u64, parts: &[Range<u64>], cancel: &Cancel) -> io::Result<BlobId> {
    let mut hasher = <BlobId as Digest>::Hasher::default();
    let mut buffer = Vec::new();
    for part in parts {
        update(&mut hasher, file, part, &mut buffer, cancel)?;
    }
    let bytes = BlobId::finish(hasher);
    if is_all(parts, size) {
        return Ok(bytes);
    }
    let mut out = Encoder::new(DOMAIN);
    out.number(size as i64);
    out.sequence(parts.len());
    for part in parts {
        out.number(part.start as i64);
        out.number(part.end as i64);
    }
    out.digest(bytes.as_bytes());
    Ok(BlobId::from_bytes(out.hash()))
}

/// The digest of a regular file's bytes, wherever it has holes: that of a file of the project, of which holes do not count.
pub fn hash_bytes(file: &File) -> io::Result<BlobId> {
    let (size, never) = (file.metadata()?.len(), Cancel::default());
    let parts = parts(file, size)?;
    let (mut hasher, mut buffer, mut at) = (<BlobId as Digest>::Hasher::default(), Vec::new(), 0);
    for part in &parts {
        zeros(&mut hasher, at..part.start);
        update(&mut hasher, file, part, &mut buffer, &never)?;
        at = part.end;
    }
    zeros(&mut hasher, at..size);
    Ok(BlobId::finish(hasher))
}

/// Digests bytes of a file. Where it has become shorter there are none, and its name is another one.
fn update(
    hasher: &mut <BlobId as Digest>::Hasher,
    file: &File,
    part: &Range<u64>,
    buffer: &mut Vec<u8>,
    cancel: &Cancel,
) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        cancel.check()?;
        buffer.resize((part.end - at).min(PIECE) as usize, 0);
        match file.read_at(buffer, at)? {
            0 => break,
            length => {
                BlobId::update(hasher, &buffer[..length]);
                at += length as u64;
            }
        }
    }
    Ok(())
}

fn zeros(hasher: &mut <BlobId as Digest>::Hasher, range: Range<u64>) {
    const ZEROS: &[u8; PIECE as usize] = &[0; PIECE as usize];
    let end = range.end;
    range.step_by(ZEROS.len()).for_each(|start| {
        BlobId::update(hasher, &ZEROS[..(end - start).min(PIECE) as usize]);
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sparse(dir: &Path, size: u64, writes: &[(u64, &[u8])]) -> std::path::PathBuf {
        let path = dir.join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        writes.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        path
    }

    fn content(path: &Path) -> BlobId {
        content_of(&File::open(path).unwrap(), &Cancel::default()).unwrap()
    }

    #[test]
    fn a_file_without_holes_is_named_by_its_bytes() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("file");
        for bytes in [vec![], b"small".to_vec(), vec![0; 600_000], vec![7; 600_000]] {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(content(&path).as_bytes(), blake3::hash(&bytes).as_bytes());
            assert_eq!(hash_bytes(&open_file(&path).unwrap()).unwrap(), content(&path));
        }
    }

    #[test]
    fn bytes_sizes_and_holes_count() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut names = std::collections::BTreeSet::new();
        let block = [0; 4096];
        for (size, writes) in [
            (1 << 20, &[(0, &b"x"[..])][..]),
            (1 << 20, &[(1, b"x")]),
            (1 << 20, &[(8192, b"x")]),
            (1 << 20, &[(0, b"x"), (8192, &block)]),
            (1 << 20, &[(0, b"x"), (12_288, &block)]),
            (2 << 20, &[(0, b"x")]),
            (2 << 20, &[]),
        ] {
            let path = sparse(dir.path(), size, writes);
            assert!(names.insert(content(&path)), "{size} {writes:?}");
            let bytes = fs::read(&path).unwrap();
            assert_eq!(
                hash_bytes(&open_file(&path).unwrap()).unwrap().as_bytes(),
                blake3::hash(&bytes).as_bytes()
            );
        }
    }

    /// A changed value here renames every file with holes that anybody has in a cache.
    #[test]
    fn pinned_vector() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let name = content(&sparse(dir.path(), 1 << 20, &[(5000, b"x"), (1 << 19, &[0; 4096])]));
        assert_eq!(name.hex(), "f6f340ae4e1f4db0e6e29aa1b2a0e4750d48bde5bbe4219175c963e9ae4583ed");
    }

    /// To read them would take days.
    #[test]
    fn holes_are_not_read() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        content(&sparse(dir.path(), 15 << 40, &[(10 << 40, b"x")]));
    }

    #[test]
    fn who_gives_up_does_not_wait_for_it() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = sparse(dir.path(), 10_000, &[(0, b"x")]);
        let cancel = Cancel::default();
        cancel.cancel();
        let stopped = content_of(&File::open(path).unwrap(), &cancel).unwrap_err();
        assert!(ibuild_cache::is_stop(&stopped));
    }
}
