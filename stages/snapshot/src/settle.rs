//! Makes data of what a file has blocks for and was never written, so that everybody sees the same holes in it.
//!
//! `fallocate` gives a file blocks without writing them. A file system shows them as holes, as data once somebody looked at them,
//! and as either when an overlay copies the file up, while a tarball has no word for them. So they are written, with the zeros
//! that they are: where a layer is captured, where it is unpacked, and in all that is made of it they are data. For the same
//! reason blocks of a file system that are smaller than [`BLOCK`](super::allocated::BLOCK) are made whole.
//!
//! Where the file system does not say which blocks it has, as tmpfs does not, a file that has enough of them for all of its bytes
//! has no hole, and any other file has those that it shows.
//!
//! When an overlay copies up a file with holes, the kernel and the file system of the store may fill holes shorter than
//! 1 MiB with zeros.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::iter;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{OFlags, Timespec, Timestamps, XattrFlags, fgetxattr, fsetxattr, futimens};

use super::allocated::{BLOCK, Parts, holes, written};
use super::fiemap;
use ibuild_cache::Cancel;

/// Bytes that are written at once.
const PIECE: u64 = 1 << 20;
/// What writing to a file takes away from it.
const CAPABILITY: &str = "security.capability";

/// Whether a file may have blocks beyond its end (`FALLOC_FL_KEEP_SIZE`), or, being so small that it counts as data, none at all. No
/// tarball has a word for either. A block of attributes is counted, too, and looks like one beyond the end.
pub(super) fn has_other_blocks(meta: &fs::Metadata) -> bool {
    let (size, blocks) = (meta.len(), meta.blocks() * 512);
    blocks > size.next_multiple_of(BLOCK) || (blocks == 0 && 0 < size && size <= BLOCK)
}

/// Makes holes and data of a file that has holes, and takes away blocks beyond its end. Its times and rights stay.
pub(super) fn settle(path: &Path, file: &File, cancel: &Cancel) -> io::Result<()> {
    let meta = file.metadata()?;
    let missing = missing(file, &meta)?;
    if missing.is_empty() && !has_other_blocks(&meta) {
        return Ok(());
    }
    let rights = Rights::of(file, &meta);
    let flags = OFlags::NOFOLLOW.bits() as i32;
    let out = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    missing.into_iter().try_for_each(|part| write_again(file, &out, part, cancel))?;
    out.set_len(meta.len())?;
    rights.give_back(&out)
}

/// What has blocks and looks like a hole.
fn missing(file: &File, meta: &fs::Metadata) -> io::Result<Vec<Range<u64>>> {
    let size = meta.len();
    let written = written(file, size)?;
    let mut with_blocks = match fiemap::extents(file, size)? {
        _ if size <= BLOCK => iter::once(0..size).filter(|all| !all.is_empty()).collect(),
        Some(extents) => extents,
        None if meta.blocks() * 512 >= size => iter::once(0..size).collect(),
        None => Vec::new(),
    };
    with_blocks.extend(written.iter().cloned());
    with_blocks.sort_unstable_by_key(|part| part.start);
    let mut parts = Parts::of(size);
    with_blocks.into_iter().for_each(|part| parts.add(part));
    let within = |hole: Range<u64>| {
        let common = |part: &Range<u64>| part.start.max(hole.start)..part.end.min(hole.end);
        let found = parts.list.iter().map(common).filter(|part| !part.is_empty());
        found.collect::<Vec<_>>()
    };
    Ok(holes(&written, size).flat_map(within).collect())
}

/// What is read is written: it is zeros, unless somebody else wrote meanwhile.
fn write_again(file: &File, out: &File, part: Range<u64>, cancel: &Cancel) -> io::Result<()> {
    let mut buffer = Vec::new();
    for start in part.clone().step_by(PIECE as usize) {
        cancel.check()?;
        buffer.resize((part.end - start).min(PIECE) as usize, 0);
        file.read_exact_at(&mut buffer, start)?;
        out.write_all_at(&buffer, start)?;
    }
    Ok(())
}

/// What a file is besides its bytes, as far as writing changes it.
struct Rights {
    mode: u32,
    capability: Option<Vec<u8>>,
    times: Timestamps,
}

impl Rights {
    fn of(file: &File, meta: &fs::Metadata) -> Self {
        let mut value = vec![0; 256];
        let capability = fgetxattr(file, CAPABILITY, &mut value[..]).ok().map(|length| {
            value.truncate(length);
            value
        });
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: time(meta.atime(), meta.atime_nsec()),
            last_modification: time(meta.mtime(), meta.mtime_nsec()),
        };
        Self { mode: meta.mode() & 0o7777, capability, times }
    }

    fn give_back(self, out: &File) -> io::Result<()> {
        out.set_permissions(fs::Permissions::from_mode(self.mode))?;
        if let Some(value) = self.capability {
            fsetxattr(out, CAPABILITY, &value, XattrFlags::empty())?;
        }
        Ok(futimens(out, &self.times)?)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FallocateFlags, fallocate};

    use super::super::allocated::parts;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Data, a hole, blocks that were never written, and another hole.
    fn mixed(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("mixed");
        let file = File::create(&path).unwrap();
        file.set_len(4 * MIB).unwrap();
        file.write_all_at(&[1; 5000], 0).unwrap();
        fallocate(&file, FallocateFlags::empty(), 2 * MIB, MIB).unwrap();
        path
    }

    #[test]
    fn what_was_allocated_and_not_written_is_data_afterwards() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = mixed(dir.path());
        let file = File::open(&path).unwrap();
        let (bytes, before) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
        settle(&path, &file, &Cancel::default()).unwrap();
        assert_eq!(parts(&file, 4 * MIB).unwrap(), [0..8192, 2 * MIB..3 * MIB]);
        assert!(fs::read(&path).unwrap() == bytes);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        assert_eq!(after.blocks(), before.blocks());
    }

    /// Bytes that are still on their way to the disk lie in blocks that the file system calls unwritten.
    #[test]
    fn what_was_just_written_stays() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = mixed(dir.path());
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.write_all_at(&[7; 9000], 2 * MIB + 100_000).unwrap();
        let bytes = fs::read(&path).unwrap();
        settle(&path, &file, &Cancel::default()).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn rights_stay() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = mixed(dir.path());
        let file = File::open(&path).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o6750)).unwrap();
        let capability = [1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fsetxattr(&file, CAPABILITY, &capability, XattrFlags::empty()).unwrap();
        settle(&path, &file, &Cancel::default()).unwrap();
        let mut value = [0; 20];
        assert_eq!(fgetxattr(&file, CAPABILITY, &mut value[..]), Ok(20));
        assert_eq!(value, capability);
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o6750);
    }

    #[test]
    fn who_gives_up_does_not_wait_for_it() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = mixed(dir.path());
        let cancel = Cancel::default();
        cancel.cancel();
        let stopped = settle(&path, &File::open(&path).unwrap(), &cancel).unwrap_err();
        assert!(ibuild_cache::is_stop(&stopped));
    }
}
