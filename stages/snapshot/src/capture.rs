//! What a stage changed: an overlay's upper directory becomes tree entries and a tarball of changes.
//!
//! The upper directory is made canonical *in place* while it is read, because it is what the next stage runs on:
//! volatile files go, what equals the parent goes, attributes that no tree holds go, times are clamped, and a directory that
//! hides all of the parent's hides only what it has not. Afterwards it looks exactly as if it had been unpacked from its tarball, and the two trees alone
//! decide what is in it, not the way from one to the other.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ibuild_cache::{Cancel, TreeId};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, major, minor, utimensat};

use super::change::{Change, REMOVAL, join};
use super::inode_digests::InodeDigests;
use super::links::Links;
use super::tree::{Entry, Kind, Listing, Metadata, TreeStore};
use super::volatile::VolatileList;
use super::{SnapshotError, device, unpack, xattr};

/// What a capture needs to know besides the directory.
pub struct CaptureContext<'a> {
    /// Where the parent's directories are read and the new ones remembered.
    pub trees: &'a TreeStore<'a>,
    /// The latest modification time that a file may have, seconds since 1970.
    pub epoch: i64,
    /// What to remove.
    pub volatile: VolatileList,
}

/// The outcome of a capture.
#[derive(Debug)]
pub struct Captured {
    /// The whole file system.
    pub tree: TreeId,
    /// What differs from the parent, in the order of the tarball: a directory before what is in it, names by bytes.
    pub changes: Vec<(Vec<u8>, Change)>,
    /// What cannot be kept in a layer and was dropped, for the log: sockets.
    pub dropped: Vec<PathBuf>,
}

/// Captures `upper` as the change to `parent`; without a parent, to an empty file system.
pub fn capture(
    context: &CaptureContext<'_>,
    upper: &Path,
    parent: Option<TreeId>,
) -> Result<Captured, SnapshotError> {
    capture_until(&Cancel::default(), context, upper, parent)
}

/// The same, for a user who may give up.
pub fn capture_until(
    cancel: &Cancel,
    context: &CaptureContext<'_>,
    upper: &Path,
    parent: Option<TreeId>,
) -> Result<Captured, SnapshotError> {
    let base = parent.map(|tree| context.trees.root(tree)).transpose()?;
    let (contents, shared) = InodeDigests::below(upper, &context.volatile, cancel)?;
    let links = Links::of(shared);
    let (changes, dropped) = (Vec::new(), Vec::new());
    let mut walk = Walk { context, cancel, upper, parent, contents, changes, dropped, links, forced: 0 };
    let root = walk.directory(b"", base.as_ref(), Below::Seen)?;
    Ok(Captured { tree: context.trees.add_root(&root), changes: walk.changes, dropped: walk.dropped })
}

/// Whether what the parent has in a directory is seen through it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Seen,
    Hidden,
}

struct Walk<'a> {
    context: &'a CaptureContext<'a>,
    cancel: &'a Cancel,
    upper: &'a Path,
    parent: Option<TreeId>,
    contents: InodeDigests,
    changes: Vec<(Vec<u8>, Change)>,
    dropped: Vec<PathBuf>,
    links: Links,
    /// Names that are as the parent has them and are kept all the same.
    forced: usize,
}

impl Walk<'_> {
    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.upper.join(std::ffi::OsStr::from_bytes(path))
    }

    /// Captures a directory that the upper directory has, over what the parent has at that place.
    ///
    /// Its own entry comes in front of the changes of its children, unless together they change nothing. An overlay shows the
    /// topmost layer's owner and mode of a directory, so a layer has to tell those of every directory on the way to a
    /// change, also where they are the parent's.
    fn directory(&mut self, path: &[u8], base: Option<&Entry>, above: Below) -> Result<Entry, SnapshotError> {
        let disk = self.on_disk(path);
        self.contents.settle_directory(&disk, path)?;
        let mut listing = match base.map(|entry| &entry.kind) {
            Some(Kind::Directory(listing)) => self.context.trees.listing(*listing)?,
            _ => Listing::default(),
        };
        let below = if xattr::is_opaque(&disk) { Below::Hidden } else { above };
        if below == Below::Hidden {
            hide_one_by_one(&disk, &listing)?;
        }
        let (place, forced) = (self.changes.len(), self.forced);
        for (name, file) in sorted(&disk)? {
            self.child(path, &name, &file, &mut listing, below)?;
        }
        self.set_times(&disk, self.context.epoch)?;
        let meta = self.metadata(path, &disk, Some(self.context.epoch))?;
        let entry = Entry { meta, kind: Kind::Directory(self.context.trees.add_listing(&listing)) };
        if base == Some(&entry) && self.forced == forced {
            self.changes.truncate(place);
        } else {
            self.changes.insert(place, (path.to_vec(), Change::Set(entry.clone())));
        }
        Ok(entry)
    }

    fn child(
        &mut self,
        parent: &[u8],
        name: &[u8],
        file: &DirEntry,
        listing: &mut Listing,
        below: Below,
    ) -> Result<(), SnapshotError> {
        let path = join(parent, name);
        let disk = file.path();
        self.cancel.check().map_err(SnapshotError::io("read", &disk))?;
        let meta = fs::symlink_metadata(&disk).map_err(SnapshotError::io("look at", &disk))?;
        let kind = meta.file_type();
        if kind.is_char_device() && meta.rdev() == 0 {
            return self.whiteout(path, &disk, listing.entries.remove(name));
        }
        if kind.is_socket() {
            self.dropped.push(PathBuf::from(std::ffi::OsString::from_vec(path.clone())));
            return self.replace(path, &disk, name, listing);
        }
        if !kind.is_dir() && self.context.volatile.contains(&path) {
            return self.replace(path, &disk, name, listing);
        }
        if name.starts_with(REMOVAL) {
            return Err(SnapshotError::ReservedName(PathBuf::from(std::ffi::OsString::from_vec(path))));
        }
        let (base, forced) = (listing.entries.get(name).cloned(), self.forced);
        let entry = if kind.is_dir() {
            self.directory(&path, base.as_ref(), below)?
        } else {
            self.leaf(&path, &disk, &meta)?
        };
        if base.as_ref() == Some(&entry) && self.forced == forced && self.is_known(&meta, &entry)? {
            return remove_from_disk(&disk);
        }
        if !kind.is_dir() {
            self.changes.push((path, Change::Set(entry.clone())));
        }
        listing.entries.insert(name.to_vec(), entry);
        Ok(())
    }

    /// Whether the layer can do without what is as the parent has it.
    fn is_known(&mut self, meta: &fs::Metadata, entry: &Entry) -> Result<bool, SnapshotError> {
        let Kind::File { link: Some(_), .. } = entry.kind else { return Ok(true) };
        let known = self.links.is_known(meta.ino(), entry, self.context.trees, self.parent)?;
        self.forced += usize::from(!known);
        Ok(known)
    }

    /// A whiteout for something that the parent does not have is left over from a file that came and went.
    fn whiteout(&mut self, path: Vec<u8>, disk: &Path, hidden: Option<Entry>) -> Result<(), SnapshotError> {
        match hidden {
            Some(_) => self.changes.push((path, Change::Removed)),
            None => remove_from_disk(disk)?,
        }
        Ok(())
    }

    /// Takes a file out of the tree that is not to be kept: where the parent has something of that name, it stays
    /// hidden, because the file did hide it.
    fn replace(
        &mut self,
        path: Vec<u8>,
        disk: &Path,
        name: &[u8],
        listing: &mut Listing,
    ) -> Result<(), SnapshotError> {
        remove_from_disk(disk)?;
        if listing.entries.remove(name).is_some() {
            unpack::make_whiteout(disk)?;
            self.changes.push((path, Change::Removed));
        }
        Ok(())
    }

    fn leaf(&mut self, path: &[u8], disk: &Path, meta: &fs::Metadata) -> Result<Entry, SnapshotError> {
        let content = meta.is_file().then(|| self.contents.of(disk, path, meta)).transpose()?;
        let mtime = meta.mtime().min(self.context.epoch);
        self.set_times(disk, mtime)?;
        let mut own = self.metadata(path, disk, None)?;
        if meta.is_file()
            && let Some(kind) = device::take(&mut own.xattrs)
        {
            unpack::put_anew(disk, &own, &kind)?;
            return Ok(Entry { meta: own, kind });
        }
        if let Some(content) = content {
            let link = self.links.identity(meta.ino());
            return Ok(Entry { kind: Kind::File { content, size: meta.len(), link }, meta: own });
        }
        let kind = match meta.file_type() {
            kind if kind.is_symlink() => {
                let target = fs::read_link(disk).map_err(SnapshotError::io("read", disk))?;
                Kind::Symlink(target.into_os_string().into_vec())
            }
            kind if kind.is_char_device() => Kind::Char(major(meta.rdev()), minor(meta.rdev())),
            kind if kind.is_block_device() => Kind::Block(major(meta.rdev()), minor(meta.rdev())),
            _ => Kind::Fifo,
        };
        if meta.nlink() > 1 {
            // Only regular files have several names in a tree.
            unpack::put_anew(disk, &own, &kind)?;
        }
        Ok(Entry { meta: own, kind })
    }

    /// Sets the modification time on disk, in whole seconds as the tarball has it.
    fn set_times(&self, disk: &Path, mtime: i64) -> Result<(), SnapshotError> {
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, disk, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(SnapshotError::io("set the times of", disk))
    }

    /// A symbolic link has no mode of its own worth keeping: the kernel always says 0777.
    fn metadata(&self, path: &[u8], disk: &Path, mtime: Option<i64>) -> Result<Metadata, SnapshotError> {
        let meta = fs::symlink_metadata(disk).map_err(SnapshotError::io("look at", disk))?;
        let xattrs = match meta.is_symlink() {
            true => xattr::settle_link(disk).map(|()| BTreeMap::new()),
            false => xattr::settle(disk, path),
        };
        Ok(Metadata {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: mtime.unwrap_or(meta.mtime()),
            xattrs: xattrs?,
        })
    }
}

fn sorted(dir: &Path) -> Result<BTreeMap<Vec<u8>, DirEntry>, SnapshotError> {
    let entries = fs::read_dir(dir).map_err(SnapshotError::io("read", dir))?;
    let named = entries.map(|entry| entry.map(|entry| (entry.file_name().into_vec(), entry)));
    named.collect::<io::Result<_>>().map_err(SnapshotError::io("read", dir))
}

/// Makes of a directory that hides everything one that hides what it has nothing of.
fn hide_one_by_one(dir: &Path, parent: &Listing) -> Result<(), SnapshotError> {
    let there = sorted(dir)?;
    for name in parent.entries.keys().filter(|name| !there.contains_key(*name)) {
        unpack::make_whiteout(&dir.join(std::ffi::OsStr::from_bytes(name)))?;
    }
    xattr::remove_opaque(dir)
}

fn remove_from_disk(disk: &Path) -> Result<(), SnapshotError> {
    let meta = fs::symlink_metadata(disk).map_err(SnapshotError::io("look at", disk))?;
    let removed = if meta.is_dir() { fs::remove_dir_all(disk) } else { fs::remove_file(disk) };
    removed.map_err(SnapshotError::io("remove", disk))
}
