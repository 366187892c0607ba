//! Extended attributes: which ones belong to a tree, and how they are read and set.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use super::SnapshotError;

/// Whether an attribute is part of a tree. `trusted.*` is the overlay's own, the other `security.*` belong to the
/// policy of the machine that builds.
pub(super) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"system.posix_acl_") || name.starts_with(b"user.")
}

/// The attributes of a file itself, not of what a link points to, that are part of a tree.
pub(super) fn read(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
    let mut found = BTreeMap::new();
    for name in names(path)?.split(|b| *b == 0).filter(|name| is_kept(name)) {
        found.insert(name.to_vec(), value(path, name)?);
    }
    Ok(found)
}

fn names(path: &Path) -> Result<Vec<u8>, SnapshotError> {
    let mut buffer = vec![0; 256];
    loop {
        match llistxattr(path, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(SnapshotError::io("list the attributes of", path)(e)),
        }
    }
}

/// The value of one attribute.
pub(super) fn value(path: &Path, name: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let mut buffer = vec![0; 256];
    loop {
        match lgetxattr(path, name, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(e) => return Err(SnapshotError::io("read an attribute of", path)(e)),
        }
    }
}

/// Whether the overlay hides what the directories below hold.
pub(super) fn is_opaque(path: &Path) -> bool {
    let mut buffer = [0; 1];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| matches!(lgetxattr(path, *name, &mut buffer[..]), Ok(1) if buffer[0] == b'y'))
}

/// Makes the overlay hide what the directories below hold.
pub(super) fn set_opaque(path: &Path) -> Result<(), SnapshotError> {
    set(path, b"trusted.overlay.opaque", b"y")
}

/// Sets one attribute of a file itself.
pub(super) fn set(path: &Path, name: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
    lsetxattr(path, name, value, XattrFlags::empty()).map_err(SnapshotError::io("set an attribute of", path))
}

/// Gives a copy the attributes of its original.
pub(crate) fn copy_xattrs(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.is_symlink() {
        return Ok(());
    }
    for (name, value) in read(from).map_err(std::io::Error::other)? {
        set(to, &name, &value).map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// Gives a copy the modification time of its original.
pub(crate) fn copy_times(source: &std::fs::Metadata, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let time = rustix::fs::Timespec { tv_sec: source.mtime(), tv_nsec: source.mtime_nsec() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, to, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}
