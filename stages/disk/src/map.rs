//! A disk as a description: which of its bytes come from where. Nothing is read before somebody wants the bytes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ibuild_cache::{BlobId, Cancel};

use super::error::DiskError;
use ibuild_snapshot::{SnapshotError, content_of, open_file};

/// Where some bytes of a disk come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// They are these.
    Bytes(Vec<u8>),
    /// They are part of a file.
    File {
        /// Its place in [`DiskMap::files`].
        file: usize,
        /// The first of them, counted within the file.
        offset: u64,
        /// Their number.
        length: u64,
    },
}

impl fmt::Debug for Origin {
    /// Tells how many bytes there are and not which: a disk has megabytes of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File { file, offset, length } => {
                write!(f, "{length} bytes from {offset} on of file {file}")
            }
        }
    }
}

/// Some bytes of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Their place.
    pub at: u64,
    /// What they are.
    pub origin: Origin,
}

impl Piece {
    /// The number of its bytes.
    pub fn length(&self) -> u64 {
        match &self.origin {
            Origin::Bytes(bytes) => bytes.len() as u64,
            Origin::File { length, .. } => *length,
        }
    }

    /// The place behind its last byte.
    pub fn end(&self) -> u64 {
        self.at + self.length()
    }
}

/// A file whose bytes are on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFile {
    /// What it holds.
    pub content: BlobId,
    /// How much of it.
    pub size: u64,
    /// Where it can be read. Not part of what the disk is.
    pub place: Arc<Path>,
}

impl ContentFile {
    /// Reads the file and tells whether it holds what it is said to hold.
    pub fn is_whole(&self, cancel: &Cancel) -> Result<bool, DiskError> {
        let file = open_file(&self.place)?;
        let content = content_of(&file, cancel).map_err(SnapshotError::io("read", &self.place))?;
        Ok(content == self.content)
    }
}

/// What is on a disk. Everything else on it is zero.
#[derive(Debug, Clone, Default)]
pub struct DiskMap {
    /// Its bytes.
    pub size: u64,
    /// What is on it, in order, without overlaps.
    pub pieces: Vec<Piece>,
    /// The files that the pieces are parts of.
    pub files: Vec<ContentFile>,
    cancel: Cancel,
}

impl DiskMap {
    /// Puts pieces into their order.
    ///
    /// # Panics
    ///
    /// If two of them overlap or one is outside: whoever places things has to know where they are.
    pub fn new(size: u64, mut pieces: Vec<Piece>, files: Vec<ContentFile>) -> Self {
        pieces.retain(|piece| piece.length() > 0);
        pieces.sort_by_key(|piece| piece.at);
        let overlap = pieces.windows(2).find(|pair| pair[0].end() > pair[1].at);
        assert!(overlap.is_none(), "two things are in one place: {overlap:?}");
        assert!(pieces.last().is_none_or(|last| last.end() <= size), "something is outside of the disk");
        Self { size, pieces, files, cancel: Cancel::default() }
    }

    /// The same for a user who may give up: who reads its bytes then gets no more.
    pub fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// Whether to give up.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A disk with these bytes in these places.
    pub fn of_bytes<'b>(size: u64, bytes: impl IntoIterator<Item = (u64, &'b [u8])>) -> Self {
        let piece = |(at, bytes): (u64, &[u8])| Piece { at, origin: Origin::Bytes(bytes.to_vec()) };
        Self::new(size, bytes.into_iter().map(piece).collect(), Vec::new())
    }
}
