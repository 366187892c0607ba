//! Small files of a project, read whole. What has the name of one may be a pipe that never says anything, lead to a device
//! without an end, or have a length that no memory has.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file is not read, within an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A pipe, a device, a socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// It has more bytes than such a file can have.
    #[error("it has more than {} MiB", .most >> 20)]
    TooLarge {
        /// As many as it can have.
        most: u64,
    },
}

impl Unfit {
    /// What of this is the reason of an error.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::other(unfit)
    }
}

/// Reads a regular file of at most `most` bytes, a whole number of MiB for the message. Links are followed, nothing is waited for.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        return Err(Unfit::NotRegular.into());
    }
    if meta.len() > most {
        return Err(Unfit::TooLarge { most }.into());
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
    // It may have grown since.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Unfit::TooLarge { most }.into());
    }
    Ok(bytes)
}

/// Why a file was not read, in the words that a message needs: without the number of the system's error.
pub fn explain(error: &io::Error) -> String {
    Unfit::of(error).map_or_else(|| error.kind().to_string(), |unfit| unfit.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn refused(path: &Path, why: &str) {
        assert_eq!(explain(&read(path, MIB).unwrap_err()), why);
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let pipe = std::process::Command::new("mkfifo").arg(place("pipe")).status().unwrap();
        assert!(pipe.success());
        refused(&place("pipe"), "it is not a regular file");
        symlink("/dev/zero", place("zero")).unwrap();
        refused(&place("zero"), "it is not a regular file");
        File::create(place("large")).unwrap().set_len(MIB + 1).unwrap();
        refused(&place("large"), "it has more than 1 MiB");
        refused(dir.path(), "is a directory");
        refused(&place("none"), "entity not found");
    }

    #[test]
    fn a_regular_file_is_read_also_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, vec![7; MIB as usize]).unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(read(&link, MIB).unwrap(), vec![7; MIB as usize]);
    }
}
