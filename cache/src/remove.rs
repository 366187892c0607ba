//! Removing a directory, however deep: a stage can make one that no path leads to the end of, and whose levels are more
//! than a process has descriptors.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::below::open_dir;

/// Levels that are gone down one within the other. What is deeper is moved up first.
const MOST_LEVELS: usize = 32;

/// Removes a directory with all that is in it. What somebody else removes at the same time is no error.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    let top = open_dir(CWD, path)?;
    let mut removal = Removal { top: top.as_fd(), moved: 0 };
    loop {
        let before = removal.moved;
        removal.empty(top.as_fd(), 0)?;
        if removal.moved == before {
            return fs::remove_dir(path);
        }
    }
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// Directories that were moved to the top.
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, dir: BorrowedFd<'_>, level: usize) -> Result<(), Errno> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let removed = match unlinkat(dir, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => unlinkat(dir, name, AtFlags::REMOVEDIR),
                removed => removed,
            };
            match removed {
                Err(Errno::NOTEMPTY | Errno::EXIST) if level == MOST_LEVELS => self.move_up(dir, name)?,
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.go_down(dir, name, level)?,
                Err(Errno::NOENT) | Ok(()) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn go_down(&mut self, dir: BorrowedFd<'_>, name: &std::ffi::CStr, level: usize) -> Result<(), Errno> {
        let gone = |error| if error == Errno::NOENT { Ok(()) } else { Err(error) };
        match open_dir(dir, name) {
            Ok(below) => self.empty(below.as_fd(), level + 1)?,
            Err(error) => return gone(error),
        }
        unlinkat(dir, name, AtFlags::REMOVEDIR).or_else(gone)
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let place = format!("{}-{}", std::process::id(), self.moved);
            match renameat_with(dir, name, self.top, place, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                moved => return moved,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{Mode, OFlags, openat};

    use super::*;

    /// Twice as many directories within each other as a stack of files and threads would bear, each with some company.
    #[test]
    fn a_deep_directory_goes() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut place = open_dir(CWD, &top).unwrap();
        let make = |place: &OwnedFd, name: &str| rustix::fs::mkdirat(place, name, Mode::from(0o700)).unwrap();
        for level in 0..10_000 {
            make(&place, "d");
            if level % 10 == 0 {
                make(&place, &format!("{}-{level}", std::process::id()));
                openat(&place, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o600)).unwrap();
                rustix::fs::symlinkat("d", &place, "link").unwrap();
            }
            place = open_dir(place.as_fd(), "d").unwrap();
        }
        remove_dir(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let (top, other) = (root.path().join("top"), root.path().join("other"));
        fs::create_dir_all(top.join("d")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&other, top.join("d/link")).unwrap();
        std::os::unix::fs::symlink(&other, root.path().join("link")).unwrap();
        assert!(remove_dir(&root.path().join("link")).is_err());
        remove_dir(&top).unwrap();
        assert!(other.join("file").exists());
    }
}
