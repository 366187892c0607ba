//! One archive from its first member to its last.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use tar::{Archive, Entry, EntryType};

use crate::directory::{Content, Directory, Looks};
use crate::error::{MemberFault, UnpackError};
use crate::format::{drain, tar_in};
use crate::metered::{HEADERS, Meter, Metered, Reached};
use crate::name::{parts, shown};
use crate::{Limits, Rules};

/// What keeps a file's mode from carrying more than permissions: a file of a stranger runs as whoever starts it.
const PERMISSIONS: u32 = 0o777;

/// Records of a global header that say nothing about files.
const HARMLESS: [&[u8]; 2] = [b"comment", b"charset"];

/// An archive on its way into a directory.
pub(crate) struct Unpacking<'a> {
    directory: Directory<'a>,
    rules: &'a Rules,
    limits: &'a Limits,
    meter: Rc<Meter>,
    /// Members so far, and how many of them were unpacked.
    members: u64,
    unpacked: u64,
    /// The sizes of all files so far.
    bytes: u64,
}

impl<'a> Unpacking<'a> {
    pub(crate) fn new(to: BorrowedFd<'a>, rules: &'a Rules, limits: &'a Limits) -> Self {
        let meter = Meter::new(limits.bytes);
        let directory = Directory::new(to, rules.uid, rules.gid);
        Self { directory, rules, limits, meter, members: 0, unpacked: 0, bytes: 0 }
    }

    pub(crate) fn run(mut self, archive: &mut (dyn Read + Send)) -> Result<(), UnpackError> {
        let plain = Metered { from: tar_in(archive)?, meter: self.meter.clone() };
        let mut archive = Archive::new(plain);
        let mut entries = archive.entries().map_err(|e| self.unread(e))?;
        loop {
            self.meter.expect_headers();
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|e| self.unread(e))?;
            self.meter.expect_content();
            self.members += 1;
            if self.members > self.limits.members {
                return Err(UnpackError::Members(self.limits.members));
            }
            self.member(&mut entry)?;
            // What nobody wanted is read here, where it counts as content.
            drain(&mut entry).map_err(|e| self.unread(e))?;
        }
        match self.unpacked {
            0 if self.members == 0 => Err(UnpackError::Empty),
            0 if self.rules.strip > 0 => Err(UnpackError::NothingLeft(self.rules.strip)),
            _ => Ok(()),
        }
    }

    /// What an error of the reader means: it may be the meter's.
    fn unread(&self, error: io::Error) -> UnpackError {
        match self.meter.reached() {
            Some(Reached::Headers) => UnpackError::Headers(HEADERS),
            Some(Reached::Total) => UnpackError::Bytes(self.limits.bytes),
            None => UnpackError::Damaged(error),
        }
    }

    fn member<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Bytes(self.limits.bytes));
        }
        let path = entry.path_bytes().into_owned();
        let outcome = match entry.header().entry_type() {
            EntryType::XGlobalHeader => global_header(entry),
            _ => self.place(&path, entry),
        };
        // The content of a file is read while it is written: what fails may be the archive.
        outcome.map_err(|fault| match (fault, self.meter.reached()) {
            (MemberFault::Io(error), Some(_)) => self.unread(error),
            (fault, _) => UnpackError::Member { name: shown(&path), fault },
        })
    }

    fn place<R: Read>(&mut self, path: &[u8], entry: &mut Entry<'_, R>) -> Result<(), MemberFault> {
        refuse_unread_records(entry)?;
        let Some(parts) = parts(path, self.rules.strip)? else { return Ok(()) };
        let header = entry.header();
        let mode = header.mode()? & PERMISSIONS;
        // A time before 1970 is written in a way that makes it one of the far future here.
        let mtime = i64::try_from(header.mtime()?).unwrap_or(i64::MAX).min(self.rules.latest);
        let looks = Looks { mode, mtime };
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => {
                self.directory.make_directory(&parts, &looks)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let content = Content { size: entry.size(), bytes: entry };
                self.directory.write_file(&parts, &looks, content)
            }
            EntryType::Directory => self.directory.make_directory(&parts, &looks),
            EntryType::Symlink => self.directory.make_symlink(&parts, &looks, &target),
            EntryType::Link => self.link(&parts, &target),
            EntryType::Char | EntryType::Block => Err(MemberFault::Kind("a device node")),
            EntryType::Fifo => Err(MemberFault::Kind("a named pipe")),
            _ => Err(MemberFault::Kind("of an unknown type")),
        }?;
        self.unpacked += 1;
        Ok(())
    }

    /// Its target is a name of a member, so it loses the same directories.
    fn link(&mut self, place: &[&[u8]], target: &[u8]) -> Result<(), MemberFault> {
        let foreign = || MemberFault::ForeignLink(shown(target));
        match parts(target, self.rules.strip) {
            Ok(Some(parts)) => self.directory.link(place, &parts)?.ok_or_else(foreign),
            Ok(None) | Err(_) => Err(foreign()),
        }
    }
}

/// A header that is about all members that follow. git writes the commit there; what would change files is refused, because the
/// reader of headers does not apply it.
fn global_header<R: Read>(entry: &mut Entry<'_, R>) -> Result<(), MemberFault> {
    let size = entry.size();
    if size > HEADERS {
        return Err(MemberFault::Kind("a global header without end"));
    }
    let Some(records) = entry.pax_extensions()? else { return Ok(()) };
    for record in records {
        if !HARMLESS.contains(&record?.key_bytes()) {
            return Err(MemberFault::Kind("a global header that says something about all files"));
        }
    }
    Ok(())
}

/// GNU tar can describe holes in records, and calls the file something else then.
fn refuse_unread_records<R: Read>(entry: &mut Entry<'_, R>) -> Result<(), MemberFault> {
    let Some(records) = entry.pax_extensions()? else { return Ok(()) };
    for record in records {
        if record?.key_bytes().starts_with(b"GNU.sparse.") {
            return Err(MemberFault::Kind("a sparse file in the form of `tar --format=pax --sparse`"));
        }
    }
    Ok(())
}
