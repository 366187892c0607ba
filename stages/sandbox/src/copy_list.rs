//! What is copied of the project, file by file: the list that a copy in a sandbox follows.

use ibuild_cache::{BlobId, DecodeError, Decoder, Encoder};

use super::view::Executable;

const DOMAIN: &str = "ibuild copy list v1";

/// Files to copy, each directory before what is in it. A single file has an empty path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyList {
    /// The files.
    pub files: Vec<ListedFile>,
}

/// A file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Relative to what is copied.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ListedKind,
}

/// What a file of the project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A regular file.
    File {
        /// Its bytes.
        content: BlobId,
        /// Their number.
        size: u64,
        /// Its executable bit.
        access: Executable,
    },
}

const DIRECTORY: i64 = 1;
const SYMLINK: i64 = 2;
const FILE: i64 = 3;
const PROGRAM: i64 = 4;

impl CopyList {
    /// As it is handed to a sandbox.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new(DOMAIN);
        out.sequence(self.files.len());
        for ListedFile { path, kind } in &self.files {
            out.bytes(path);
            match kind {
                ListedKind::Directory => out.number(DIRECTORY),
                ListedKind::Symlink(target) => {
                    out.number(SYMLINK);
                    out.bytes(target);
                }
                ListedKind::File { content, size, access } => {
                    out.number(if *access == Executable::Yes { PROGRAM } else { FILE });
                    out.digest(content.as_bytes());
                    out.number(*size as i64);
                }
            }
        }
        out.finish()
    }

    /// The inverse of [`CopyList::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes, DOMAIN)?;
        let files = (0..from.sequence()?).map(|_| listed(&mut from)).collect::<Result<_, _>>()?;
        if from.is_empty() { Ok(Self { files }) } else { Err(DecodeError) }
    }
}

fn listed(from: &mut Decoder<'_>) -> Result<ListedFile, DecodeError> {
    let path = from.bytes()?.to_vec();
    let kind = match from.number()? {
        DIRECTORY => ListedKind::Directory,
        SYMLINK => ListedKind::Symlink(from.bytes()?.to_vec()),
        kind @ (FILE | PROGRAM) => ListedKind::File {
            content: BlobId::from_bytes(*from.digest()?),
            size: u64::try_from(from.number()?).map_err(|_| DecodeError)?,
            access: if kind == PROGRAM { Executable::Yes } else { Executable::No },
        },
        _ => return Err(DecodeError),
    };
    Ok(ListedFile { path, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_being_handed_over() {
        let file = |access| ListedKind::File { content: BlobId::from_bytes([3; 32]), size: 7, access };
        let kinds = [
            ListedKind::Directory,
            ListedKind::Symlink(b"../x".to_vec()),
            file(Executable::Yes),
            file(Executable::No),
        ];
        let files = kinds.map(|kind| ListedFile { path: b"a/\xff".to_vec(), kind }).to_vec();
        let list = CopyList { files };
        assert_eq!(CopyList::from_bytes(&list.to_bytes()), Ok(list));
    }
}
