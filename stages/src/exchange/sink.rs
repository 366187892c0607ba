//! Where an archive goes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// A tar, or a directory.
pub enum Sink {
    /// Entries of a tar, in one stream.
    Tar(Box<Builder<Box<dyn Write>>>),
    /// Files of a directory, which is made.
    Directory(PathBuf),
}

impl Sink {
    /// A tar that is written here.
    pub fn tar(into: impl Write + 'static) -> Self {
        Self::Tar(Box::new(Builder::new(Box::new(into))))
    }

    /// Adds a file of so many bytes.
    pub(super) fn add(&mut self, name: &str, size: u64, mut bytes: impl Read) -> io::Result<()> {
        match self {
            Self::Tar(builder) => {
                let mut header = Header::new_ustar();
                header.set_path(name)?;
                header.set_entry_type(EntryType::Regular);
                header.set_mode(0o644);
                header.set_size(size);
                header.set_cksum();
                builder.append(&header, bytes.take(size))
            }
            Self::Directory(dir) => {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().unwrap_or(dir))?;
                // A blob that is there under its name is the same one.
                if name.contains('/') && fs::metadata(&path).is_ok_and(|meta| meta.len() == size) {
                    return Ok(());
                }
                write_whole(&path, &mut bytes)
            }
        }
    }

    /// Ends the archive, and makes it durable where that can be done.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Tar(builder) => builder.into_inner()?.flush(),
            Self::Directory(dir) => File::open(dir)?.sync_all(),
        }
    }
}

fn write_whole(path: &Path, bytes: &mut dyn Read) -> io::Result<()> {
    let mut temp = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    io::copy(bytes, &mut temp)?;
    temp.as_file().sync_data()?;
    temp.persist(path).map(drop).map_err(|error| error.error)
}
