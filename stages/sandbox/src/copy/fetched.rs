//! Fetched files: copied, or unpacked into a directory. What reaches the tree has the digest of the key, or the stage fails.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ibuild_cache::{Digest, Sha256};
use ibuild_host::userns;
use ibuild_unpack::{Limits, Rules, unpack, write_with_holes};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::super::mounts::{SetupResult, failed};
use super::super::view::{FetchedForm, Look};
use super::{Copied, Owners, file_on_the_way, full_directory, make_parents, make_room};

/// The mode of a file of which the recipe says nothing: where it came from, files have none.
const MODE: u32 = 0o644;

/// A fetched file on its way into the tree.
pub(super) struct FetchedCopy<'a> {
    pub file: &'a File,
    pub content: &'a Sha256,
    pub to: &'a Path,
    pub owners: Owners,
    pub look: &'a Look,
    /// No member of an archive gets a later time, seconds since 1970.
    pub epoch: i64,
}

impl FetchedCopy<'_> {
    pub(super) fn run(&self, form: FetchedForm) -> SetupResult<Copied> {
        match form {
            FetchedForm::File => self.copy(),
            FetchedForm::Archive { strip } => self.unpack(strip),
        }
    }

    fn copy(&self) -> SetupResult<Copied> {
        let act = || format!("write `{}`", self.to.display());
        if let Some(in_the_way) = file_on_the_way(self.to).or_else(|| full_directory(self.to)) {
            return Ok(Copied::InTheWay(in_the_way));
        }
        make_parents(self.to, self.look.dirs.unwrap_or(0o755))?;
        make_room(self.to).map_err(failed(act()))?;
        let target = File::create_new(self.to).map_err(failed(act()))?;
        let mut bytes = Hashed::new(self.file);
        write_with_holes(&mut bytes, &target).map_err(failed(act()))?;
        bytes.check(self.content)?;
        let Owners { uid, gid } = self.owners;
        std::os::unix::fs::fchown(&target, Some(uid), Some(gid))
            .map_err(|e| userns::explain_owner(e, uid, gid))
            .map_err(failed(act()))?;
        let mode = Permissions::from_mode(self.look.mode.unwrap_or(MODE));
        target.set_permissions(mode).map_err(failed(act()))?;
        Ok(Copied::All)
    }

    fn unpack(&self, strip: u32) -> SetupResult<Copied> {
        if let Some(in_the_way) = file_on_the_way(&self.to.join("x")) {
            return Ok(Copied::InTheWay(in_the_way));
        }
        make_parents(&self.to.join("x"), self.look.dirs.unwrap_or(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = openat(CWD, self.to, flags, Mode::empty());
        let to = to.map_err(failed(format!("open `{}`", self.to.display())))?;
        let Owners { uid, gid } = self.owners;
        let rules = Rules { strip, uid, gid, latest: self.epoch };
        let mut bytes = Hashed::new(self.file);
        let unpacked = unpack(&mut bytes, to.as_fd(), &rules, &Limits::default());
        // Before anything is said about the archive: it may not be the one that was fetched.
        bytes.check(self.content)?;
        Ok(unpacked.map_or_else(|error| Copied::NotUnpacked(error.to_string()), |()| Copied::All))
    }
}

/// A file that is digested while it is read.
struct Hashed<'a> {
    file: &'a File,
    hasher: <Sha256 as Digest>::Hasher,
}

impl<'a> Hashed<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, hasher: <Sha256 as Digest>::Hasher::default() }
    }

    /// Reads what is left, and compares the whole.
    fn check(mut self, expected: &Sha256) -> SetupResult {
        io::copy(&mut self, &mut io::sink()).map_err(failed("read the fetched file"))?;
        let found = Sha256::finish(self.hasher);
        if found == *expected {
            return Ok(());
        }
        let (found, expected) = (found.hex(), expected.hex());
        Err(format!("the fetched file is damaged in the store: its SHA-256 is {found} instead of {expected}"))
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        Sha256::update(&mut self.hasher, &buffer[..read]);
        Ok(read)
    }
}
