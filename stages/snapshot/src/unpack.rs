//! From a tarball to a directory, never outside it.
//!
//! Every parent directory is opened with `openat2`, relative to the root's descriptor, so neither `..` nor a symbolic
//! link in the tarball or on disk can lead out. Files are made relative to that descriptor, without following the
//! last component, and all that they are given reaches them by descriptors too. Paths of the host are for messages.

mod place;

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, mknodat, openat2, symlinkat,
};
use rustix::io::Errno;

pub use self::place::Dialect;
use self::place::{Created, Place};
use super::change::REMOVAL;
use super::tarball::{Member, MemberKind, read_members};
use super::tree::{Kind, Metadata};
use super::{SnapshotError, xattr};

/// Unpacks `tarball` into the existing directory `root`.
pub fn unpack(tarball: impl Read, root: &Path, dialect: Dialect) -> Result<(), SnapshotError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(SnapshotError::io("open", root))?;
    let fd = Rc::new(fd);
    let buffer = vec![0; 256 << 10];
    let mut unpacker = Unpacker { root, fd, dialect, parent: None, buffer, directories: Vec::new() };
    read_members(tarball, |member, bytes| unpacker.member(&member, bytes).map_err(Failure::Member)).map_err(
        |failure| match failure {
            Failure::Member(error) => error,
            Failure::Tarball(error) => SnapshotError::io("read a tarball for", root)(error),
        },
    )?;
    unpacker.finish()
}

/// Makes what an overlay understands as the absence of a file.
pub fn make_whiteout(path: &Path) -> Result<(), SnapshotError> {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).map_err(SnapshotError::io("create", path))
}

enum Failure {
    Tarball(io::Error),
    Member(SnapshotError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Tarball(error)
    }
}

/// Puts a file of its own, which is no directory and has no bytes, in the place of what is at `path`, exactly as it would
/// be unpacked.
pub(super) fn put_anew(path: &Path, meta: &Metadata, kind: &Kind) -> Result<(), SnapshotError> {
    let place = Place { dir: CWD, name: path.as_os_str().as_bytes(), disk: path.to_owned() };
    let make = || match kind {
        Kind::Symlink(target) => Ok(symlinkat(target.as_slice(), CWD, path)?),
        Kind::Char(major, minor) => place.device(FileType::CharacterDevice, *major, *minor),
        Kind::Block(major, minor) => place.device(FileType::BlockDevice, *major, *minor),
        Kind::Fifo => Ok(mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0)?),
        Kind::Directory(_) | Kind::File { .. } => unreachable!("the caller has something without bytes"),
    };
    place.clear().and_then(|()| make()).map_err(SnapshotError::io("create", path))?;
    place.own(meta)?;
    if !matches!(kind, Kind::Symlink(_)) {
        let named = place.named()?;
        place.set_mode(&named, meta.mode)?;
        xattr::write(named.as_fd(), &meta.xattrs, path)?;
    }
    place.set_mtime(meta.mtime)
}

struct Unpacker<'a> {
    root: &'a Path,
    fd: Rc<OwnedFd>,
    dialect: Dialect,
    /// The directory of the last member, which usually is that of the next.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    buffer: Vec<u8>,
    /// Their times and attributes are set last: making a file in a directory changes the directory's time, and
    /// a default ACL would be inherited by the files.
    directories: Vec<(Vec<u8>, Metadata)>,
}

impl Unpacker<'_> {
    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(path))
    }

    fn refuse(&self, path: &[u8], reason: &'static str) -> SnapshotError {
        SnapshotError::Refused { path: PathBuf::from(std::ffi::OsStr::from_bytes(path)), reason }
    }

    fn member(&mut self, member: &Member, bytes: &mut dyn Read) -> Result<(), SnapshotError> {
        if member.path.split(|b| *b == b'/').any(|part| part == b"..") {
            return Err(self.refuse(&member.path, "its path has `..` in it"));
        }
        if member.path.is_empty() {
            return self.root_itself(&member.meta);
        }
        let (parent, name) = split(&member.path);
        let dir = self.parent_dir(parent)?;
        if self.dialect == Dialect::Layer
            && let Some(hidden) = name.strip_prefix(REMOVAL)
        {
            return self.whiteout(&dir, parent, hidden);
        }
        let place = Place { dir: dir.as_fd(), name, disk: self.on_disk(&member.path) };
        let error = SnapshotError::io("extract", &place.disk);
        match self.create(&place, member, bytes).map_err(error)? {
            Created::Anew => self.dress(&place, member),
            Created::Open(file) => place.dress_file(&file, &member.meta),
            Created::Before => Ok(()),
        }
    }

    fn root_itself(&mut self, meta: &Metadata) -> Result<(), SnapshotError> {
        let fd = self.fd.clone();
        let place = Place { dir: fd.as_fd(), name: b".", disk: self.root.to_owned() };
        let kind = MemberKind::Directory;
        self.dress(&place, &Member { path: Vec::new(), meta: meta.clone(), kind })
    }

    /// In a layer no member can put something else in a directory's place, so one that was opened stays what its
    /// path names. A package may replace a link on the way.
    fn parent_dir(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, SnapshotError> {
        if let Some((last, dir)) = &self.parent
            && last == path
            && self.dialect == Dialect::Layer
        {
            return Ok(dir.clone());
        }
        let dir = self.open_dir(path)?;
        self.parent = Some((path.to_vec(), dir.clone()));
        Ok(dir)
    }

    fn open_dir(&self, path: &[u8]) -> Result<Rc<OwnedFd>, SnapshotError> {
        if path.is_empty() {
            return Ok(self.fd.clone());
        }
        match self.resolve(path) {
            Err(Errno::NOENT) => {
                // A package may leave out the parents of its files.
                let (parent, name) = split(path);
                let dir = self.open_dir(parent)?;
                mkdirat(&dir, name, Mode::from(0o755))
                    .and_then(|()| self.resolve(path))
                    .map(Rc::new)
                    .map_err(SnapshotError::io("create", &self.on_disk(path)))
            }
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                Err(self.refuse(path, "something on its way is not a directory"))
            }
            opened => opened.map(Rc::new).map_err(SnapshotError::io("open", &self.on_disk(path))),
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let links = match self.dialect {
            Dialect::Layer => ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
            Dialect::Package => ResolveFlags::IN_ROOT,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            // A rename elsewhere can disturb the kernel's check of `..`; it then asks to be called again.
            match openat2(&*self.fd, path, flags, Mode::empty(), links | ResolveFlags::NO_MAGICLINKS) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    }

    fn whiteout(&self, dir: &OwnedFd, parent: &[u8], hidden: &[u8]) -> Result<(), SnapshotError> {
        mknodat(dir, hidden, FileType::CharacterDevice, Mode::empty(), 0).map_err(SnapshotError::io(
            "hide",
            &self.on_disk(parent).join(std::ffi::OsStr::from_bytes(hidden)),
        ))
    }

    /// Makes the file itself. What is there already is replaced, but a directory by a directory is kept.
    fn create(&mut self, place: &Place<'_>, member: &Member, bytes: &mut dyn Read) -> io::Result<Created> {
        if member.kind == MemberKind::Directory {
            return place.directory(self.dialect);
        }
        place.clear()?;
        let (dir, name) = (place.dir, place.name);
        let made: io::Result<()> = match &member.kind {
            MemberKind::Directory => Ok(()),
            MemberKind::File { size, segments } => {
                return place.file(*size, segments, bytes, &mut self.buffer).map(Created::Open);
            }
            MemberKind::Symlink(target) => Ok(symlinkat(target.as_slice(), dir, name)?),
            MemberKind::HardLink(target) => self.hard_link(place, target),
            MemberKind::Char(major, minor) => place.device(FileType::CharacterDevice, *major, *minor),
            MemberKind::Block(major, minor) => place.device(FileType::BlockDevice, *major, *minor),
            MemberKind::Fifo => Ok(mknodat(dir, name, FileType::Fifo, Mode::from(0o600), 0)?),
        };
        made.map(|()| Created::Anew)
    }

    fn hard_link(&self, place: &Place<'_>, target: &[u8]) -> io::Result<()> {
        let (parent, name) = split(target);
        let dir = self.open_dir(parent).map_err(io::Error::other)?;
        Ok(linkat(&dir, name, place.dir, place.name, AtFlags::empty())?)
    }

    /// Owner before mode, because a change of owner takes setuid away; attributes after the owner, because it takes
    /// capabilities away too; times last.
    fn dress(&mut self, place: &Place<'_>, member: &Member) -> Result<(), SnapshotError> {
        let Member { meta, kind, path } = member;
        if matches!(kind, MemberKind::HardLink(_)) {
            return Ok(());
        }
        place.own(meta)?;
        if matches!(kind, MemberKind::Symlink(_)) {
            // It has no mode, and no attributes that belong to a tree.
            return place.set_mtime(meta.mtime);
        }
        let named = place.named()?;
        place.set_mode(&named, meta.mode)?;
        if *kind == MemberKind::Directory {
            self.directories.push((path.clone(), meta.clone()));
            return Ok(());
        }
        xattr::write(named.as_fd(), &meta.xattrs, &place.disk)?;
        place.set_mtime(meta.mtime)
    }

    fn finish(self) -> Result<(), SnapshotError> {
        for (path, meta) in self.directories.iter().rev() {
            let dir = self.open_dir(path)?;
            let place = Place { dir: dir.as_fd(), name: b".", disk: self.on_disk(path) };
            xattr::write(place.named()?.as_fd(), &meta.xattrs, &place.disk)?;
            place.set_mtime(meta.mtime)?;
        }
        Ok(())
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}
