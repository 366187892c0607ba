//! A name in an open directory, and what is made there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ibuild_host::userns;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, chownat, fchmod, fchown, fsetxattr,
    futimens, mkdirat, mknodat, openat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::tarball::Segment;
use crate::tree::Metadata;
use crate::{SnapshotError, device, xattr};

/// Where a tarball comes from decides what its names mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One of our layers: `.wh.` names are changes and become what an overlay understands; a link on the way to a
    /// member is an error.
    Layer,
    /// The files of a Debian package: `.wh.` means nothing; a member below a symbolic link goes to where the link
    /// points within the root, as dpkg does for `/lib`.
    Package,
}

/// Whether a member's owner, mode and times are still to be set, and how.
pub(super) enum Created {
    Anew,
    Open(File),
    Before,
}

/// A name in an open directory.
pub(super) struct Place<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// The same as a path, for messages.
    pub(super) disk: PathBuf,
}

impl Place<'_> {
    pub(super) fn clear(&self) -> io::Result<()> {
        match unlinkat(self.dir, self.name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            cleared => Ok(cleared?),
        }
    }

    pub(super) fn directory(&self, dialect: Dialect) -> io::Result<Created> {
        match mkdirat(self.dir, self.name, Mode::from(0o700)) {
            Err(Errno::EXIST) => {}
            made => return Ok(made.map(|()| Created::Anew)?),
        }
        let stat = rustix::fs::statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        match (FileType::from_raw_mode(stat.st_mode), dialect) {
            // Several packages ship one directory, and some ship `/lib/` where the root has a link to `usr/lib`.
            (FileType::Directory | FileType::Symlink, Dialect::Package) => Ok(Created::Before),
            (FileType::Directory, Dialect::Layer) => Ok(Created::Anew),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn file(
        &self,
        size: u64,
        segments: &[Segment],
        bytes: &mut dyn Read,
        buffer: &mut [u8],
    ) -> io::Result<File> {
        let mut file = self.empty_file()?;
        let is_sparse = segments.iter().map(|segment| segment.length).sum::<u64>() != size;
        if is_sparse {
            // First, because a file system may fill what lies between two writes that make a file longer.
            file.set_len(size)?;
        }
        let mut end = 0;
        for segment in segments {
            if segment.offset != end {
                file.seek(SeekFrom::Start(segment.offset))?;
            }
            copy_exactly(bytes, &mut file, segment.length, buffer)?;
            end = segment.offset + segment.length;
        }
        Ok(file)
    }

    /// A device node, or a file that stands for one where nobody can make them.
    pub(super) fn device(&self, kind: FileType, major: u32, minor: u32) -> io::Result<()> {
        let device = device::number(kind, major, minor)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no device has these numbers"))?;
        if userns::is_initial() {
            return Ok(mknodat(self.dir, self.name, kind, Mode::from(0o600), device)?);
        }
        let file = self.empty_file()?;
        let value = device::encode(kind, major, minor);
        Ok(fsetxattr(&file, device::ATTRIBUTE, &value, XattrFlags::CREATE)?)
    }

    pub(super) fn empty_file(&self) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(self.dir, self.name, flags, Mode::from(0o600))?))
    }

    /// Sets the owner.
    pub(super) fn own(&self, meta: &Metadata) -> Result<(), SnapshotError> {
        let (uid, gid) = owner(meta);
        chownat(self.dir, self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.owner_error(error, meta))
    }

    pub(super) fn owner_error(&self, error: Errno, meta: &Metadata) -> SnapshotError {
        SnapshotError::io("set the owner of", &self.disk)(userns::explain_owner(error, meta.uid, meta.gid))
    }

    /// The same as [`Unpacker::dress`], in the same order, through a descriptor that is open anyway.
    pub(super) fn dress_file(&self, file: &File, meta: &Metadata) -> Result<(), SnapshotError> {
        let (uid, gid) = owner(meta);
        fchown(file, Some(uid), Some(gid)).map_err(|error| self.owner_error(error, meta))?;
        fchmod(file, Mode::from(meta.mode)).map_err(SnapshotError::io("set the mode of", &self.disk))?;
        xattr::write(file.as_fd(), &meta.xattrs, &self.disk)?;
        futimens(file, &times(meta.mtime)).map_err(SnapshotError::io("set the times of", &self.disk))
    }

    /// A descriptor of what is there, itself. It is opened for nothing but to name it: opening a device has effects.
    pub(super) fn named(&self) -> Result<OwnedFd, SnapshotError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.dir, self.name, flags, Mode::empty()).map_err(SnapshotError::io("open", &self.disk))
    }

    /// `fchmod` does not take a descriptor of this kind.
    pub(super) fn set_mode(&self, named: &OwnedFd, mode: u32) -> Result<(), SnapshotError> {
        rustix::fs::chmod(xattr::through_proc(named.as_fd()), Mode::from(mode))
            .map_err(SnapshotError::io("set the mode of", &self.disk))
    }

    pub(super) fn set_mtime(&self, mtime: i64) -> Result<(), SnapshotError> {
        utimensat(self.dir, self.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(SnapshotError::io("set the times of", &self.disk))
    }
}

pub(super) fn owner(meta: &Metadata) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(meta.uid), rustix::fs::Gid::from_raw(meta.gid))
}

pub(super) fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Like `io::copy` of so many bytes, in pieces that are worth a system call.
pub(super) fn copy_exactly(
    from: &mut dyn Read,
    to: &mut File,
    mut left: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match from.read(&mut buffer[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                to.write_all(&buffer[..length])?;
                left -= length as u64;
            }
        }
    }
    Ok(())
}
