//! The bytes of a disk's files, read when somebody wants them, and not believed before the whole file has its digest.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::OnceLock;

use ibuild_cache::{BlobId, Digest};

use super::error::DiskError;
use super::map::{ContentFile, DiskMap, Origin, Piece};
use ibuild_snapshot::SnapshotError;

/// Reads pieces of a disk, from any thread.
pub struct DiskReader<'m> {
    map: &'m DiskMap,
    /// Whether a file is what it is said to be, once somebody looked. Who needs to know meanwhile waits.
    checked: Vec<OnceLock<Result<bool, DiskError>>>,
}

impl<'m> DiskReader<'m> {
    /// Of the files of this map, none is read yet.
    pub fn of(map: &'m DiskMap) -> Self {
        Self { map, checked: map.files.iter().map(|_| OnceLock::new()).collect() }
    }

    /// Puts the bytes of a piece into `out`, from `skip` bytes behind its beginning on.
    pub fn read(&self, piece: &Piece, skip: u64, out: &mut [u8]) -> Result<(), DiskError> {
        if self.map.cancel().is_cancelled() {
            return Err(SnapshotError::Interrupted.into());
        }
        match &piece.origin {
            Origin::Bytes(bytes) => {
                out.copy_from_slice(&bytes[skip as usize..skip as usize + out.len()]);
                Ok(())
            }
            Origin::File { file, offset, .. } => self.read_file(*file, offset + skip, out),
        }
    }

    fn read_file(&self, number: usize, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let (file, cancel) = (&self.map.files[number], self.map.cancel());
        if offset == 0 && out.len() as u64 == file.size && self.checked[number].get().is_none() {
            read_whole(file, out)?;
            // Somebody else may have looked meanwhile, and has seen the same.
            let _ = self.checked[number].set(Ok(true));
            return Ok(());
        }
        match self.checked[number].get_or_init(|| file.is_whole(cancel)) {
            Ok(true) => {}
            Ok(false) => return Err(changed(file)),
            // An error cannot be told twice, but had again.
            Err(_) => return file.is_whole(cancel).and(Err(changed(file))),
        }
        let open = File::open(&file.place).map_err(DiskError::io("open", &file.place))?;
        open.read_exact_at(out, offset).map_err(DiskError::io("read", &file.place))
    }
}

#[cfg(test)]
impl DiskMap {
    /// The bytes of the disk.
    pub fn bytes(&self) -> Vec<u8> {
        let mut disk = vec![0; self.size as usize];
        let contents = DiskReader::of(self);
        for piece in &self.pieces {
            contents.read(piece, 0, &mut disk[piece.at as usize..piece.end() as usize]).unwrap();
        }
        disk
    }
}

/// Most files are small, and are wanted as a whole: they are read once, and what was read has the digest.
fn read_whole(file: &ContentFile, out: &mut [u8]) -> Result<(), DiskError> {
    let mut options = File::options();
    let open = options.read(true).custom_flags(libc::O_NOFOLLOW).open(&file.place);
    let open = open.map_err(DiskError::io("open", &file.place))?;
    let mut read = || -> io::Result<bool> {
        open.read_exact_at(out, 0)?;
        Ok(open.metadata()?.len() == file.size && digest(out) == file.content)
    };
    match read() {
        Ok(true) => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(DiskError::io("read", &file.place)(e)),
        _ => Err(changed(file)),
    }
}

fn digest(bytes: &[u8]) -> BlobId {
    let mut hasher = <BlobId as Digest>::Hasher::default();
    BlobId::update(&mut hasher, bytes);
    BlobId::finish(hasher)
}

fn changed(file: &ContentFile) -> DiskError {
    DiskError::Disagree { file: file.place.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has a file of three thousand bytes.
    fn map(dir: &tempfile::TempDir) -> DiskMap {
        let bytes = b"abc".repeat(1000);
        let place = dir.path().join("file");
        std::fs::write(&place, &bytes).unwrap();
        let file = ContentFile { content: digest(&bytes), size: 3000, place: place.into() };
        let piece = Piece { at: 4096, origin: Origin::File { file: 0, offset: 0, length: 3000 } };
        DiskMap::new(1 << 20, vec![piece], vec![file])
    }

    /// What reading these bytes of the file comes to.
    fn read(map: &DiskMap, skip: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let mut out = vec![0; length];
        DiskReader::of(map).read(&map.pieces[0], skip, &mut out).map(|()| out)
    }

    #[test]
    fn a_file_is_read_as_a_whole_and_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let map = map(&dir);
        assert_eq!(read(&map, 0, 3000).unwrap(), b"abc".repeat(1000));
        assert_eq!(read(&map, 3, 6).unwrap(), b"abcabc");
        assert_eq!(read(&map, 0, 3).unwrap(), b"abc");
        let (contents, mut out) = (DiskReader::of(&map), vec![0; 3000]);
        for _ in 0..2 {
            contents.read(&map.pieces[0], 0, &mut out).unwrap();
            contents.read(&map.pieces[0], 1, &mut out[..2]).unwrap();
            assert_eq!(&out[..3], b"bcc");
        }
    }

    #[test]
    fn a_file_that_changed_is_told_however_it_is_read() {
        for wrong in [b"abd".repeat(1000), b"abc".repeat(999), b"abc".repeat(1001), Vec::new()] {
            let dir = tempfile::tempdir().unwrap();
            let map = map(&dir);
            std::fs::write(&map.files[0].place, wrong).unwrap();
            for length in [3000, 3] {
                assert!(matches!(read(&map, 0, length), Err(DiskError::Disagree { .. })));
            }
        }
    }
}
