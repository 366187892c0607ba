//! The bytes of a disk's files, read when somebody wants them, and not believed before the whole file has its digest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::error::DiskError;
use super::map::{ContentFile, DiskMap, Origin, Piece};

/// Reads pieces of a disk, from any thread.
pub struct Contents<'m> {
    map: &'m DiskMap,
    /// Whether a file is what it is said to be, once somebody looked. Who needs to know meanwhile waits.
    checked: Vec<OnceLock<Result<bool, DiskError>>>,
}

impl<'m> Contents<'m> {
    /// Of the files of this map, none is read yet.
    pub fn of(map: &'m DiskMap) -> Self {
        Self { map, checked: map.files.iter().map(|_| OnceLock::new()).collect() }
    }

    /// Puts the bytes of a piece into `out`, from `skip` bytes behind its beginning on.
    pub fn read(&self, piece: &Piece, skip: u64, out: &mut [u8]) -> Result<(), DiskError> {
        match &piece.origin {
            Origin::Bytes(bytes) => {
                out.copy_from_slice(&bytes[skip as usize..skip as usize + out.len()]);
                Ok(())
            }
            Origin::File { file, offset, .. } => self.read_file(*file, offset + skip, out),
        }
    }

    fn read_file(&self, number: usize, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let file = &self.map.files[number];
        match self.checked[number].get_or_init(|| file.is_whole()) {
            Ok(true) => {}
            Ok(false) => return Err(changed(file)),
            // An error cannot be told twice, but had again.
            Err(_) => return file.is_whole().and(Err(changed(file))),
        }
        let open = File::open(&file.place).map_err(DiskError::io("open", &file.place))?;
        open.read_exact_at(out, offset).map_err(DiskError::io("read", &file.place))
    }
}

fn changed(file: &ContentFile) -> DiskError {
    DiskError::Disagree { file: file.place.display().to_string() }
}
