//! The `/proc` of the sandbox, as init has mounted it: a payload may mount, move or unmount what it likes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags, fstatfs, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mounts::{SetupResult, failed};

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_MAGIC: i64 = 0x9fa0;

/// A copy of the mount, which is in no directory. To be taken before the payload runs.
pub(super) struct OwnProc(OwnedFd);

impl OwnProc {
    /// Takes the copy.
    pub(super) fn take() -> SetupResult<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let proc = open_tree(rustix::fs::CWD, "/proc", flags).map_err(failed("open `/proc`"))?;
        match fstatfs(&proc).map_err(failed("look at `/proc`"))?.f_type as i64 {
            PROC_MAGIC => Ok(Self(proc)),
            _ => Err("what is at `/proc` is something else".to_owned()),
        }
    }

    /// A second handle.
    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// The numbers of all processes of the namespace.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let list = openat(&self.0, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::read_from(list)? {
            found.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(found)
    }

    /// A file of a process.
    pub(super) fn text(&self, process: u32, name: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, format!("{process}/{name}"), flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(1 << 16).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
