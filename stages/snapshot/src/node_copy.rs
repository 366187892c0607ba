//! A copy of one node of a file system that is no directory, with everything that a tree keeps of it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::copying::copy_with_holes;
use super::xattr::{Side, copy_times, copy_xattrs};

/// Makes `to`, which is not there yet, of `from`, whose metadata is `source`. The copy is an inode of its own.
pub fn copy_node(from: &Path, to: &Path, source: &Metadata, side: Side) -> io::Result<()> {
    make(from, to, source)?;
    dress(from, to, source, side)
}

/// Gives `to` the owner, mode, attributes and times of `from`, in the order in which they do not undo each other.
pub fn dress(from: &Path, to: &Path, source: &Metadata, side: Side) -> io::Result<()> {
    lchown(to, Some(source.uid()), Some(source.gid()))?;
    if !source.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(source.mode() & 0o7777))?;
    }
    copy_xattrs(from, to, side)?;
    copy_times(source, to)
}

fn make(from: &Path, to: &Path, source: &Metadata) -> io::Result<()> {
    let kind = source.file_type();
    let node = |kind, device| Ok(mknodat(CWD, to, kind, Mode::from(0o600), device)?);
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_char_device() {
        node(FileType::CharacterDevice, source.rdev())
    } else if kind.is_block_device() {
        node(FileType::BlockDevice, source.rdev())
    } else if kind.is_fifo() {
        node(FileType::Fifo, 0)
    } else {
        copy_with_holes(&File::open(from)?, &File::create_new(to)?)
    }
}
