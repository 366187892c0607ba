//! The directory that is unpacked into: names are resolved by the kernel below it, and lead nowhere else.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use ibuild_host::userns;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat,
    fchmod, fchown, futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::MemberFault;
use crate::zeros::write_with_holes;

/// Mode and time of a member.
pub(crate) struct Looks {
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
}

/// What a file is to have.
pub(crate) struct Content<'c> {
    pub(crate) bytes: &'c mut dyn Read,
    /// How many bytes that should be.
    pub(crate) size: u64,
}

/// The names on the way to something.
type Parts<'p> = [&'p [u8]];

/// The directory that is unpacked into, and what was made there.
pub(crate) struct Directory<'a> {
    to: BorrowedFd<'a>,
    uid: u32,
    gid: u32,
    /// Device and inode of all that the archive made: what was there before keeps its owner and mode, and gets no second name.
    made: HashSet<(u64, u64)>,
}

/// A name in an open directory.
struct Place<'p> {
    dir: OwnedFd,
    name: &'p OsStr,
}

impl<'a> Directory<'a> {
    pub(crate) fn new(to: BorrowedFd<'a>, uid: u32, gid: u32) -> Self {
        Self { to, uid, gid, made: HashSet::new() }
    }

    pub(crate) fn make_directory(&mut self, parts: &Parts<'_>, looks: &Looks) -> Result<(), MemberFault> {
        let place = self.place(parts)?;
        let Some(there) = place.look()? else { return self.new_directory(&place, looks.mode) };
        let is_own = self.made.contains(&identity(&there));
        match FileType::from_raw_mode(there.st_mode) {
            // It may have been made on the way to another member.
            FileType::Directory if is_own => {
                Ok(chmodat(&place.dir, place.name, Mode::from(looks.mode), AtFlags::empty())?)
            }
            FileType::Directory => Ok(()),
            // Of the image, such as `/lib`.
            FileType::Symlink if !is_own && self.leads_to_directory(parts)? => Ok(()),
            _ => {
                place.make_room()?;
                self.new_directory(&place, looks.mode)
            }
        }
    }

    fn leads_to_directory(&self, link: &Parts<'_>) -> Result<bool, MemberFault> {
        match self.open(link) {
            Ok(_) => Ok(true),
            Err(Errno::XDEV | Errno::LOOP) => Err(MemberFault::ThroughLink),
            Err(_) => Ok(false),
        }
    }

    fn new_directory(&mut self, place: &Place<'_>, mode: u32) -> Result<(), MemberFault> {
        mkdirat(&place.dir, place.name, Mode::from(0o700))?;
        self.own(place)?;
        chmodat(&place.dir, place.name, Mode::from(mode), AtFlags::empty())?;
        self.note(place)
    }

    pub(crate) fn write_file(
        &mut self,
        parts: &Parts<'_>,
        looks: &Looks,
        content: Content<'_>,
    ) -> Result<(), MemberFault> {
        let place = self.place(parts)?;
        place.make_room()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&place.dir, place.name, flags, Mode::from(0o600))?);
        if write_with_holes(content.bytes, &file)? != content.size {
            return Err(MemberFault::Io(ErrorKind::UnexpectedEof.into()));
        }
        fchown(&file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .map_err(|e| userns::explain_owner(e, self.uid, self.gid))?;
        fchmod(&file, Mode::from(looks.mode))?;
        futimens(&file, &times(looks.mtime))?;
        self.note(&place)
    }

    pub(crate) fn make_symlink(
        &mut self,
        parts: &Parts<'_>,
        looks: &Looks,
        target: &[u8],
    ) -> Result<(), MemberFault> {
        if target.contains(&0) {
            return Err(MemberFault::Nul);
        }
        let place = self.place(parts)?;
        place.make_room()?;
        symlinkat(OsStr::from_bytes(target), &place.dir, place.name)?;
        self.own(&place)?;
        utimensat(&place.dir, place.name, &times(looks.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        self.note(&place)
    }

    /// Gives a file another name; `None` if the archive has not made it.
    pub(crate) fn link(&mut self, parts: &Parts<'_>, target: &Parts<'_>) -> Result<Option<()>, MemberFault> {
        let Some(from) = self.existing_place(target)? else { return Ok(None) };
        let Some(there) = from.look()? else { return Ok(None) };
        let is_directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
        if is_directory || !self.made.contains(&identity(&there)) {
            return Ok(None);
        }
        let place = self.place(parts)?;
        if place.look()?.is_some_and(|other| identity(&other) == identity(&there)) {
            // It has this name already, perhaps as its only one.
            return Ok(Some(()));
        }
        place.make_room()?;
        linkat(&from.dir, from.name, &place.dir, place.name, AtFlags::empty())?;
        Ok(Some(()))
    }

    /// The place of a member, with the directories on the way to it.
    fn place<'p>(&mut self, parts: &Parts<'p>) -> Result<Place<'p>, MemberFault> {
        if let Some(place) = self.existing_place(parts)? {
            return Ok(place);
        }
        let (_, parents) = parts.split_last().expect("a member has a name");
        // One above the other, because some of them may be there.
        for length in 1..=parents.len() {
            let way = &parents[..length];
            if matches!(self.open(way), Err(Errno::NOENT)) {
                let place = self.existing_place(way)?.ok_or(Errno::NOENT)?;
                // A link to nowhere is no place for a directory.
                place.make_room()?;
                self.new_directory(&place, 0o755)?;
            }
        }
        Ok(self.existing_place(parts)?.ok_or(Errno::NOENT)?)
    }

    /// The place of something; `None` if the directory that it would be in is not there.
    fn existing_place<'p>(&self, parts: &Parts<'p>) -> Result<Option<Place<'p>>, MemberFault> {
        let (name, parents) = parts.split_last().expect("a member has a name");
        match self.open(parents) {
            Ok(dir) => Ok(Some(Place { dir, name: OsStr::from_bytes(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::XDEV | Errno::LOOP) => Err(MemberFault::ThroughLink),
            Err(Errno::NOTDIR) => Err(MemberFault::InTheWay("a file")),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory below the one that is unpacked into. A link on the way may lead to another one there, but not out.
    fn open(&self, parts: &Parts<'_>) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        openat2(self.to.as_fd(), OsStr::from_bytes(&path), flags, Mode::empty(), resolve)
    }

    fn own(&self, place: &Place<'_>) -> Result<(), MemberFault> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(&place.dir, place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| MemberFault::from(userns::explain_owner(e, self.uid, self.gid)))
    }

    fn note(&mut self, place: &Place<'_>) -> Result<(), MemberFault> {
        let there = statat(&place.dir, place.name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.made.insert(identity(&there));
        Ok(())
    }
}

impl Place<'_> {
    /// What is there itself, not what it leads to.
    fn look(&self) -> Result<Option<Stat>, MemberFault> {
        match statat(&self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is there. A directory is in the way only if it is not empty.
    fn make_room(&self) -> Result<(), MemberFault> {
        let Some(there) = self.look()? else { return Ok(()) };
        let is_directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(&self.dir, self.name, flags) {
            Err(Errno::NOTEMPTY) => Err(MemberFault::InTheWay("a directory with something in it")),
            removed => Ok(removed?),
        }
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
