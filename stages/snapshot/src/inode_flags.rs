//! The flags of an inode that `chattr` sets: no tree holds them.
//!
//! Those that an ext4 file system would keep and act on must not get lost without a word, so a stage that leaves one
//! fails. Those that mean nothing anywhere are taken away, and those that say how a file system stores a file are what
//! they are where the layer is made. What a file system notes for itself, such as extents, is none of this.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use super::SnapshotError;

/// Each with its letter.
const REFUSED: [(IFlags, char, &str); 6] = [
    (IFlags::IMMUTABLE, 'i', "immutable"),
    (IFlags::APPEND, 'a', "append only"),
    (IFlags::SYNC, 'S', "synchronous updates"),
    (IFlags::DIRSYNC, 'D', "synchronous directory updates"),
    (IFlags::NOATIME, 'A', "no times of access"),
    (IFlags::NODUMP, 'd', "no dumps"),
];

/// What the kernel only remembers, or takes for a hint where to allocate blocks.
const MEANINGLESS: IFlags =
    IFlags::SECURE_REMOVAL.union(IFlags::UNRM).union(IFlags::TOPDIR).union(IFlags::NOTAIL);

/// How a file system may store a file. Packages set them where they can be set, as systemd does for its journal, so which
/// there are depends on the disk of whoever builds.
const STORAGE: IFlags = IFlags::COMPRESSED.union(IFlags::NOCOW).union(NO_COMPRESSION);
const NO_COMPRESSION: IFlags = IFlags::from_bits_retain(0x400);

/// The flags of the files of a layer.
pub(super) struct InodeFlags {
    /// How the directory that the layer is made in has its files stored.
    inherited: IFlags,
}

impl InodeFlags {
    /// For the files below `upper`.
    pub(super) fn below(upper: &Path) -> Result<Self, SnapshotError> {
        let above = upper.parent().map(open).transpose()?;
        let flags = above.map_or(IFlags::empty(), |above| read(&above));
        Ok(Self { inherited: flags.intersection(STORAGE) })
    }

    /// Sees to it that a file or directory at `path` has no flags but those that its copy would have, or refuses.
    pub(super) fn settle(&self, file: &impl AsFd, path: &[u8]) -> Result<(), SnapshotError> {
        let flags = read(file);
        if let Some((_, letter, meaning)) = REFUSED.into_iter().find(|(flag, ..)| flags.intersects(*flag)) {
            return Err(refuse(path, letter, meaning));
        }
        let surplus = MEANINGLESS.union(STORAGE.difference(self.inherited));
        if flags.intersects(surplus) {
            // Best effort: a file that is compressed already may stay so, and that cannot be told from its bytes.
            let _ = ioctl_setflags(file, flags.difference(surplus));
        }
        Ok(())
    }

    /// The same for a directory.
    pub(super) fn settle_directory(&self, disk: &Path, path: &[u8]) -> Result<(), SnapshotError> {
        self.settle(&open(disk)?, path)
    }
}

/// Refuses what an overlay has noted of a file: it does not let its own layers have these two flags.
pub(super) fn refuse_protected(note: &[u8], path: &[u8]) -> Result<(), SnapshotError> {
    let noted = |(_, letter, _): &(IFlags, char, &str)| note.contains(&(*letter as u8));
    match REFUSED.into_iter().find(noted) {
        Some((_, letter, meaning)) => Err(refuse(path, letter, meaning)),
        None => Ok(()),
    }
}

fn refuse(path: &[u8], letter: char, meaning: &'static str) -> SnapshotError {
    use std::os::unix::ffi::OsStrExt;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
    SnapshotError::InodeFlag { path, letter, meaning }
}

fn open(path: &Path) -> Result<OwnedFd, SnapshotError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(SnapshotError::io("open", path))
}

/// A file system that has no flags says so in several ways.
fn read(file: &impl AsFd) -> IFlags {
    loop {
        match ioctl_getflags(file) {
            Err(Errno::INTR) => {}
            flags => return flags.unwrap_or(IFlags::empty()),
        }
    }
}
