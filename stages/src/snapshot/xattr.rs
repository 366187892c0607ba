//! Extended attributes: which ones belong to a tree, and how they are read and set.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr};
use rustix::io::Errno;

use super::SnapshotError;
use crate::userns;

/// Whether an attribute is part of a tree. `trusted.*` is the overlay's own, the other `security.*` belong to the
/// policy of the machine that builds.
pub(super) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"system.posix_acl_") || name.starts_with(b"user.")
}

/// From where a file is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Among the files of a layer, where an overlay has its own marks too.
    Layer,
    /// Through the overlay, which hides them.
    Overlay,
}

/// Where overlays keep their marks in layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// In `trusted.overlay.*`, which are no part of a tree anyway.
    Trusted,
    /// In `user.overlay.*`. What a program sets under such a name is kept as `user.overlay.overlay.*`.
    User,
}

impl Marks {
    fn here() -> Self {
        if userns::is_initial() { Self::Trusted } else { Self::User }
    }

    fn on(side: Side) -> Self {
        if side == Side::Layer { Self::here() } else { Self::Trusted }
    }

    fn opaque(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.opaque",
            Self::User => b"user.overlay.opaque",
        }
    }

    /// What an attribute of a file is called in a tree; `None` for a mark.
    fn name_in_tree(self, name: &[u8]) -> Option<Vec<u8>> {
        match name.strip_prefix(OWN) {
            Some(rest) if self == Self::User => Some([OWN, rest.strip_prefix(ESCAPE)?].concat()),
            _ => Some(name.to_vec()),
        }
    }

    /// The other way.
    fn name_on_disk(self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(OWN) {
            Some(rest) if self == Self::User => [OWN, ESCAPE, rest].concat(),
            _ => name.to_vec(),
        }
    }
}

/// Names that belong to overlays, and what those put between for names that do not.
const OWN: &[u8] = b"user.overlay.";
const ESCAPE: &[u8] = b"overlay.";

/// The attributes of a file itself, not of what a link points to, that are part of a tree, by their names there.
pub(crate) fn read(path: &Path, side: Side) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
    let marks = Marks::on(side);
    let mut found = BTreeMap::new();
    for name in names(path)?.split(|b| *b == 0) {
        if let Some(name_in_tree) = marks.name_in_tree(name).filter(|name| is_kept(name)) {
            found.insert(name_in_tree, value(path, name)?);
        }
    }
    Ok(found)
}

/// Gives a file the attributes that it has in a tree.
pub(super) fn write(
    path: &Path,
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    side: Side,
) -> Result<(), SnapshotError> {
    let marks = Marks::on(side);
    let kept = xattrs.iter().filter(|(name, _)| is_kept(name));
    kept.into_iter().try_for_each(|(name, value)| set(path, &marks.name_on_disk(name), value))
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
    matches!(lgetxattr(path, Marks::here().opaque(), &mut buffer[..]), Ok(1) if buffer[0] == b'y')
}

/// Makes the overlay hide what the directories below hold.
pub(super) fn set_opaque(path: &Path) -> Result<(), SnapshotError> {
    set(path, Marks::here().opaque(), b"y")
}

/// Takes the mark away, if it is there.
pub(super) fn remove_opaque(path: &Path) -> Result<(), SnapshotError> {
    match lremovexattr(path, Marks::here().opaque()) {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(e) => Err(SnapshotError::io("uncover", path)(e)),
    }
}

/// Sets one attribute of a file itself.
pub(super) fn set(path: &Path, name: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
    lsetxattr(path, name, value, XattrFlags::empty()).map_err(SnapshotError::io("set an attribute of", path))
}

/// Gives a copy the attributes of its original.
pub(crate) fn copy_xattrs(from: &Path, to: &Path, side: Side) -> std::io::Result<()> {
    if to.is_symlink() {
        return Ok(());
    }
    read(from, side).and_then(|xattrs| write(to, &xattrs, side)).map_err(std::io::Error::other)
}

/// Gives a copy the modification time of its original.
pub(crate) fn copy_times(source: &std::fs::Metadata, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let time = rustix::fs::Timespec { tv_sec: source.mtime(), tv_nsec: source.mtime_nsec() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, to, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_overlays_are_no_part_of_a_tree_and_names_like_theirs_are() {
        let table = [
            ("user.overlay.opaque", Marks::User, None),
            ("user.overlay.overlay.opaque", Marks::User, Some("user.overlay.opaque")),
            ("user.overlay.overlay.overlay.x", Marks::User, Some("user.overlay.overlay.x")),
            ("user.overlayed", Marks::User, Some("user.overlayed")),
            ("user.overlay.opaque", Marks::Trusted, Some("user.overlay.opaque")),
            ("security.capability", Marks::User, Some("security.capability")),
        ];
        for (on_disk, marks, in_tree) in table {
            assert_eq!(marks.name_in_tree(on_disk.as_bytes()).as_deref(), in_tree.map(str::as_bytes));
            if let Some(in_tree) = in_tree {
                assert_eq!(marks.name_on_disk(in_tree.as_bytes()), on_disk.as_bytes());
            }
        }
    }

    #[test]
    fn through_an_overlay_names_are_what_they_seem() {
        assert_eq!(Marks::on(Side::Overlay), Marks::Trusted);
    }
}
