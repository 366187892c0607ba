//! Looking at all that is below a directory, however deep: the kernel takes only so much of a path, and a process has only so
//! much stack.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// A path that is longer gets a descriptor on its way.
const FAR: usize = 1024;

/// Shows `each` what is below a directory, following no link. What goes away meanwhile is not shown.
pub fn each_below(dir: &Path, mut each: impl FnMut(&Stat)) -> Result<()> {
    let Some(top) = if_there(open_dir(CWD, dir))? else { return Ok(()) };
    let mut waiting = vec![(Rc::new(top), b".".to_vec())];
    while let Some((mut base, mut path)) = waiting.pop() {
        let Some(open) = if_there(open_dir(base.as_fd(), path.as_slice()))? else { continue };
        let entries = Dir::read_from(&open)?;
        if path.len() > FAR {
            (base, path) = (Rc::new(open), b".".to_vec());
        }
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = [&path, name].join(&b'/');
            let stat = statat(&*base, path.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            let Some(stat) = if_there(stat)? else { continue };
            each(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push((base.clone(), path));
            }
        }
    }
    Ok(())
}

fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        found => found.map(Some),
    }
}

/// Opens a directory to read it.
pub(crate) fn open_dir(base: BorrowedFd<'_>, path: impl Arg) -> Result<OwnedFd> {
    openat(base, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remove::remove_dir;

    #[test]
    fn what_is_deep_is_seen_too() {
        const LEVELS: usize = 10_000;
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut place = open_dir(CWD, &top).unwrap();
        for _ in 0..LEVELS {
            rustix::fs::mkdirat(&place, "a", Mode::from(0o700)).unwrap();
            rustix::fs::mkdirat(&place, "d", Mode::from(0o700)).unwrap();
            rustix::fs::symlinkat("d", &place, "link").unwrap();
            place = open_dir(place.as_fd(), "d").unwrap();
        }
        let (mut directories, mut others) = (0, 0);
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        each_below(&top, |stat| if is_dir(stat) { directories += 1 } else { others += 1 }).unwrap();
        assert_eq!((directories, others), (2 * LEVELS, LEVELS));
        remove_dir(&top).unwrap();
    }
}
