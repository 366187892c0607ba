//! Whether anybody else can still reach a file that has just got a new, private name.
//!
//! Its links are counted, and the kernel gives a write lease on a file only if nobody has it open (fcntl(2)). Of what holds a file
//! without having it open the kernel tells nothing: of a bind mount of it, in whichever namespace, or of a descriptor by `O_PATH`. They
//! show in `/proc` by the file's name, for all processes that this one may look at. What is not seen there is said in docs/cache.md.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

/// The parts of a path by which a file in a work directory of the store is known: `runs/PID-N/NAME`.
const PARTS: usize = 3;

/// Whether the file is nobody else's, as far as can be told. Where the kernel cannot tell, the file is taken to be in use.
pub(crate) fn is_nobody_elses(file: &Path) -> bool {
    is_linked_and_opened_once(file) && !is_held(file)
}

fn is_linked_and_opened_once(file: &Path) -> bool {
    let open = || File::options().read(true).write(true).open(file);
    let Ok(file) = open() else { return false };
    let lease = |kind: libc::c_int| {
        // SAFETY: one system call on an open descriptor, without memory.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
    };
    let has_one_name = file.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1);
    has_one_name && lease(libc::F_WRLCK) && lease(libc::F_UNLCK)
}

/// Whether the file is mounted somewhere, or has a descriptor. A file elsewhere that has the same name counts, too.
fn is_held(file: &Path) -> bool {
    let name = name_of(file);
    let Ok(processes) = processes() else { return true };
    let views = distinct_views(&processes);
    views.par_iter().any(|process| shows_mount(process, &name))
        || processes.par_iter().any(|process| has_descriptor(process, &name))
}

/// The end of the file's path, whatever it is below.
fn name_of(file: &Path) -> Vec<u8> {
    let parts: Vec<&OsStr> = file.iter().rev().take(PARTS).collect();
    let path: PathBuf = parts.into_iter().rev().collect();
    path.into_os_string().as_bytes().to_vec()
}

/// The directories of processes in `/proc`.
fn processes() -> std::io::Result<Vec<PathBuf>> {
    let is_number = |name: &OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    Ok(entries.filter(|entry| is_number(&entry.file_name())).map(|entry| entry.path()).collect())
}

/// One process for each mount namespace and root directory; all of those of which it cannot be told.
fn distinct_views(processes: &[PathBuf]) -> Vec<&PathBuf> {
    let mut seen = BTreeSet::new();
    let mut is_new = |process: &PathBuf| {
        let read = |name: &str| fs::read_link(process.join(name)).ok();
        read("ns/mnt").zip(read("root")).is_none_or(|view| seen.insert(view))
    };
    processes.iter().filter(|process| is_new(process)).collect()
}

/// Whether a mount has the file as its root: that is the fourth field (proc(5)), where the file is now on its file system.
fn shows_mount(process: &Path, name: &[u8]) -> bool {
    let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
    let root = |line: &[u8]| line.split(|byte| *byte == b' ').nth(3).is_some_and(|root| root.ends_with(name));
    mounts.split(|byte| *byte == b'\n').any(root)
}

fn has_descriptor(process: &Path, name: &[u8]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    let leads_there =
        |path: PathBuf| fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes().ends_with(name));
    descriptors.filter_map(Result::ok).any(|entry| leads_there(entry.path()))
}
