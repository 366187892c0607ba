//! Extended attributes: which ones belong to a tree, and how they are read and set.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr, setxattr};
use rustix::io::Errno;

use super::{SnapshotError, inode_flags};
use ibuild_host::userns;

/// Whether an attribute is part of a tree. `trusted.*` is the overlay's own, the other `security.*` belong to the
/// policy of the machine that builds.
pub(super) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"system.posix_acl_") || name.starts_with(b"user.")
}

/// From where a file is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
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

    /// Where an overlay keeps the flags that it does not let its layers have.
    fn protected(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.protattr",
            Self::User => b"user.overlay.protattr",
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
pub fn read(path: &Path, side: Side) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
    let marks = Marks::on(side);
    let mut found = BTreeMap::new();
    for name in names(path)?.split(|b| *b == 0) {
        if let Some(name_in_tree) = marks.name_in_tree(name).filter(|name| is_kept(name)) {
            found.insert(name_in_tree, value(path, name)?);
        }
    }
    Ok(found)
}

/// What a file of a layer keeps of its attributes, by their names in a tree. All others are taken away, an overlay's marks
/// among them: the next stage is to see what it would see if the layer were unpacked from its tarball.
pub(super) fn settle(disk: &Path, path: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, SnapshotError> {
    let marks = Marks::here();
    let mut found = BTreeMap::new();
    for name in names(disk)?.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if let Some(name_in_tree) = marks.name_in_tree(name).filter(|name| is_kept(name)) {
            found.insert(name_in_tree, value(disk, name)?);
            continue;
        }
        if name == marks.protected() {
            inode_flags::refuse_protected(&value(disk, name)?, path)?;
        }
        remove(disk, name)?;
    }
    Ok(found)
}

/// A symbolic link keeps none.
pub(super) fn settle_link(disk: &Path) -> Result<(), SnapshotError> {
    let names = names(disk)?;
    names.split(|b| *b == 0).filter(|name| !name.is_empty()).try_for_each(|name| remove(disk, name))
}

fn remove(disk: &Path, name: &[u8]) -> Result<(), SnapshotError> {
    match lremovexattr(disk, name) {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(_) if is_the_hosts(name) => Ok(()),
        Err(e) => Err(SnapshotError::io("take an attribute from", disk)(e)),
    }
}

/// What the host's security module or file system puts on every file, an unpacked one too.
fn is_the_hosts(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [
        b"security.selinux",
        b"security.SMACK64",
        b"security.apparmor",
        b"security.ima",
        b"security.evm",
        b"btrfs.",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Gives an open file of a layer the attributes that it has in a tree. A descriptor that was opened for nothing but to
/// name the file will do; that is why the way leads through `/proc`. `disk` is for messages alone: a path could lead
/// elsewhere.
pub(super) fn write(
    file: BorrowedFd<'_>,
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    disk: &Path,
) -> Result<(), SnapshotError> {
    let (marks, place) = (Marks::here(), through_proc(file));
    let kept = xattrs.iter().filter(|(name, _)| is_kept(name));
    kept.into_iter().try_for_each(|(name, value)| {
        setxattr(&place, marks.name_on_disk(name), value, XattrFlags::empty())
            .map_err(SnapshotError::io("set an attribute of", disk))
    })
}

/// Sets attributes that a file has once more, in the order in which [`write`] sets them: it is the one in which they are listed.
pub(super) fn set_in_order(disk: &Path, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), SnapshotError> {
    let marks = Marks::here();
    let kept = || xattrs.iter().filter(|(name, _)| is_kept(name));
    kept().try_for_each(|(name, _)| remove(disk, &marks.name_on_disk(name)))?;
    kept().try_for_each(|(name, value)| set(disk, &marks.name_on_disk(name), value))
}

/// A path that leads to an open file and nowhere else, for the calls that take no descriptor of some kinds.
pub(super) fn through_proc(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
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
pub fn copy_xattrs(from: &Path, to: &Path, side: Side) -> std::io::Result<()> {
    if to.is_symlink() {
        return Ok(());
    }
    let marks = Marks::on(side);
    let xattrs = read(from, side).map_err(std::io::Error::other)?;
    let copied = xattrs.iter().try_for_each(|(name, value)| set(to, &marks.name_on_disk(name), value));
    copied.map_err(std::io::Error::other)
}

/// Gives a copy the modification time of its original.
pub fn copy_times(source: &std::fs::Metadata, to: &Path) -> std::io::Result<()> {
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
