//! Where an archive goes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
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
                write_changed(&path, &mut bytes)
            }
        }
    }

    /// Takes a file out, if it is there.
    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let Self::Directory(dir) = self else { return Ok(()) };
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
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

/// Writes a file that is not there, or has other bytes: a length alone says nothing of a file that an accident hit.
fn write_changed(path: &Path, bytes: &mut dyn Read) -> io::Result<()> {
    let mut temp = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    io::copy(bytes, &mut temp)?;
    if File::open(path).is_ok_and(|there| are_equal(temp.path(), there).unwrap_or(false)) {
        return Ok(());
    }
    temp.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    temp.as_file().sync_data()?;
    temp.persist(path).map(drop).map_err(|error| error.error)
}

fn are_equal(one: &Path, other: File) -> io::Result<bool> {
    let one = File::open(one)?;
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let count = a.len().min(b.len());
        if count == 0 || a[..count] != b[..count] {
            return Ok(a.len() == b.len() && count == 0);
        }
        one.consume(count);
        other.consume(count);
    }
}
