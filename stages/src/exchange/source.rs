//! Where an archive comes from. What is read has the names and sizes that are expected, in that order, or it is refused.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tar::{Archive, Entries};

use super::import_error::ImportError;
use super::manifest::SIGNATURE;
use crate::host::bounded;

/// A manifest of a large project has a few megabytes.
const LONGEST_MANIFEST: u64 = 64 << 20;
/// Signatures have some hundred bytes.
const LONGEST_SIGNATURE: u64 = 1 << 20;

/// A tar, or a directory.
pub enum Source {
    /// Entries of a tar, as they come.
    Tar(Box<Archive<Box<dyn Read>>>),
    /// Files of a directory.
    Directory(PathBuf),
}

impl Source {
    /// A tar that is read from here.
    pub fn tar(from: impl Read + 'static) -> Self {
        Self::Tar(Box::new(Archive::new(Box::new(from))))
    }

    /// A file or a directory.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(match file.metadata()?.is_dir() {
            true => Self::Directory(path.to_owned()),
            false => Self::tar(io::BufReader::with_capacity(1 << 20, file)),
        })
    }

    pub(super) fn files(&mut self) -> io::Result<Files<'_>> {
        Ok(match self {
            // Without extensions: no name of ours needs one, and they would be read into memory.
            Self::Tar(archive) => Files::Tar(archive.entries()?.raw(true), None),
            Self::Directory(dir) => Files::Directory(dir),
        })
    }
}

/// The files of an archive, one after the other.
pub(super) enum Files<'s> {
    Tar(Entries<'s, Box<dyn Read>>, Option<Box<Next<'s>>>),
    Directory(&'s Path),
}

type Next<'s> = tar::Entry<'s, Box<dyn Read>>;

impl<'s> Files<'s> {
    /// The manifest's text, and its signature if there is one.
    pub(super) fn manifest(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), ImportError> {
        let mut text = Vec::new();
        self.small(super::MANIFEST, LONGEST_MANIFEST, &mut text)?;
        let mut signature = Vec::new();
        let is_signed = match self {
            Self::Tar(..) => self.peek()? == Some(SIGNATURE.to_owned()),
            Self::Directory(dir) => dir.join(SIGNATURE).exists(),
        };
        if is_signed {
            self.small(SIGNATURE, LONGEST_SIGNATURE, &mut signature)?;
        }
        Ok((text, is_signed.then_some(signature)))
    }

    fn small(&mut self, name: &str, most: u64, into: &mut Vec<u8>) -> Result<(), ImportError> {
        match self {
            Self::Tar(..) => {
                let entry = self.next(name)?;
                if entry.size() > most {
                    return Err(ImportError::TooLarge(name.to_owned()));
                }
                entry.take(most).read_to_end(into).map_err(ImportError::Read)?;
            }
            Self::Directory(dir) => {
                *into = bounded::read(&dir.join(name), most).map_err(ImportError::Read)?;
            }
        }
        Ok(())
    }

    /// Passes on the bytes of the next file, which has to be this one.
    pub(super) fn pass_on<T>(
        &mut self,
        name: &str,
        size: u64,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        match self {
            Self::Tar(..) => {
                let mut entry = self.next(name)?;
                match entry.size() == size {
                    true => take(&mut entry),
                    false => Err(ImportError::OtherSize(name.to_owned())),
                }
            }
            Self::Directory(dir) => {
                // A pipe in the place of a file must not be waited for.
                let flags =
                    (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed();
                let file = File::options().read(true).custom_flags(flags).open(dir.join(name));
                let file = file.map_err(|_| ImportError::Missing(name.to_owned()))?;
                let meta = file.metadata().map_err(ImportError::Read)?;
                match meta.is_file() && meta.len() == size {
                    true => take(&mut file.take(size)),
                    false => Err(ImportError::OtherSize(name.to_owned())),
                }
            }
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Result<(), ImportError> {
        match self {
            Self::Tar(..) => match self.peek()? {
                None => Ok(()),
                Some(name) => Err(ImportError::Unexpected { expected: None, found: name }),
            },
            // What else lies in a directory is nobody's business.
            Self::Directory(_) => Ok(()),
        }
    }

    fn peek(&mut self) -> Result<Option<String>, ImportError> {
        let Self::Tar(entries, next) = self else { return Ok(None) };
        if next.is_none() {
            *next = entries.next().transpose().map_err(malformed)?.map(Box::new);
        }
        Ok(next.as_ref().map(|entry| String::from_utf8_lossy(&entry.path_bytes()).into_owned()))
    }

    fn next(&mut self, expected: &str) -> Result<Next<'s>, ImportError> {
        let found = self.peek()?.ok_or_else(|| ImportError::Missing(expected.to_owned()))?;
        let Self::Tar(_, next) = self else { unreachable!("only a tar has a next entry") };
        let entry = next.take().expect("it was peeked at");
        match found == expected && entry.header().entry_type().is_file() {
            true => Ok(*entry),
            false => Err(ImportError::Unexpected { expected: Some(expected.to_owned()), found }),
        }
    }
}

/// An error of the system is about the disk or the pipe, any other one about what came of it.
fn malformed(error: io::Error) -> ImportError {
    match error.raw_os_error() {
        Some(_) => ImportError::Read(error),
        None => ImportError::NotAnArchive(error),
    }
}
