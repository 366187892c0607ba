//! Looks for secrets in what a stage has made, before anything of it is kept.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ibuild_cache::Cancel;
use rayon::prelude::*;
use rustix::fs::{OFlags, lgetxattr, llistxattr};

use crate::StageError;
use crate::executor::secrets::SecretGuard;
use crate::sandbox::Found;
use crate::snapshot::parts;

/// Bytes that are looked at together.
const PIECE: u64 = 1 << 20;

/// As many bytes as a list of attributes or a value of one can have.
const LARGEST_ATTRIBUTE: usize = 64 << 10;

impl SecretGuard {
    /// Refuses a directory with a secret anywhere in it: in the names, contents, targets of links or attributes of what is below.
    ///
    /// # Errors
    ///
    /// [`StageError::Leaked`] for the first that is found. Also if something cannot be read, so that nobody knows what is in it.
    pub(super) fn check(&self, dir: &Path, cancel: &Cancel) -> Result<(), StageError> {
        let files = self.check_names(dir, cancel)?;
        let leak = |path: &PathBuf| self.check_content(dir, path, cancel).err();
        files.par_iter().find_map_first(leak).map_or(Ok(()), Err)
    }

    /// All but contents. Gives the regular files.
    fn check_names(&self, top: &Path, cancel: &Cancel) -> Result<Vec<PathBuf>, StageError> {
        let (mut waiting, mut files) = (vec![PathBuf::new()], Vec::new());
        while let Some(dir) = waiting.pop() {
            let disk = top.join(&dir);
            self.check_attributes(&disk, &dir)?;
            for entry in fs::read_dir(&disk).map_err(StageError::io("read", &disk))? {
                cancel.check().map_err(StageError::io("read", &disk))?;
                let entry = entry.map_err(StageError::io("read", &disk))?;
                let (path, kind) = (dir.join(entry.file_name()), entry.file_type());
                let kind = kind.map_err(StageError::io("look at", &disk))?;
                self.refuse_in(path.as_os_str().as_bytes(), "the name of", &path)?;
                if kind.is_dir() {
                    waiting.push(path);
                    continue;
                }
                self.check_attributes(&entry.path(), &path)?;
                if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).map_err(StageError::io("read", &disk))?;
                    self.refuse_in(target.as_os_str().as_bytes(), "the target of the link", &path)?;
                } else if kind.is_file() {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }

    fn check_attributes(&self, disk: &Path, path: &Path) -> Result<(), StageError> {
        let names = match attribute(|buffer| llistxattr(disk, buffer)) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(()),
            names => names.map_err(StageError::io("list the attributes of", disk))?,
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            self.refuse_in(name, "an attribute of", path)?;
            let name = OsString::from_vec(name.to_vec());
            let value = attribute(|buffer| lgetxattr(disk, name.as_os_str(), buffer));
            let value = value.map_err(StageError::io("read an attribute of", disk))?;
            self.refuse_in(&value, "an attribute of", path)?;
        }
        Ok(())
    }

    fn check_content(&self, top: &Path, path: &Path, cancel: &Cancel) -> Result<(), StageError> {
        let disk = top.join(path);
        match self.find_in_file(&disk, cancel).map_err(StageError::io("read", &disk))? {
            Some(found) => Err(self.leak(self.place("", path), found)),
            None => Ok(()),
        }
    }

    /// Holes are not read: a disk of 100 GiB is mostly holes.
    fn find_in_file(&self, disk: &Path, cancel: &Cancel) -> io::Result<Option<Found>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = File::options().read(true).custom_flags(flags.cast_signed()).open(disk)?;
        let (mut stream, mut at, mut buffer) = (self.scanner.stream(), 0, Vec::new());
        for part in parts(&file, file.metadata()?.len())? {
            if let Some(found) = stream.push_zeros(part.start - at) {
                return Ok(Some(found));
            }
            at = part.start;
            while at < part.end {
                cancel.check()?;
                buffer.resize((part.end - at).min(PIECE) as usize, 0);
                file.read_exact_at(&mut buffer, at)?;
                if let Some(found) = stream.push(&buffer) {
                    return Ok(Some(found));
                }
                at += buffer.len() as u64;
            }
        }
        Ok(None)
    }

    fn refuse_in(&self, bytes: &[u8], what: &str, path: &Path) -> Result<(), StageError> {
        match self.scanner.find(bytes) {
            Some(found) => Err(self.leak(self.place(what, path), found)),
            None => Ok(()),
        }
    }

    /// How messages call a file, whose name may have a secret as well.
    fn place(&self, what: &str, path: &Path) -> String {
        let path = self.mask.text(&format!("/{}", path.to_string_lossy()));
        format!("{what} `{path}`").trim_start().to_owned()
    }
}

fn attribute(read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; LARGEST_ATTRIBUTE];
    let length = read(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, setxattr};
    use zeroize::Zeroizing;

    use super::*;
    use crate::packages::{CacheStatus, StageFetch};
    use crate::sandbox::{KeyedBy, SecretValue, ShownSecret};

    fn guard() -> SecretGuard {
        let value = SecretValue::new(Zeroizing::new(b"s3cr3t-value".to_vec())).unwrap();
        let secret = ShownSecret { name: "TOKEN".to_owned(), keyed: KeyedBy::Name, value: Some(value) };
        SecretGuard::of(&[secret]).unwrap().unwrap()
    }

    #[track_caller]
    fn check(make: impl FnOnce(&Path), expected: Option<&str>) {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::write(dir.path().join("a"), "innocent").unwrap();
        make(dir.path());
        let found = guard().check(dir.path(), &Cancel::default()).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn attributes_are_looked_at() {
        let set = |name: &'static str, value: &'static [u8]| {
            move |dir: &Path| setxattr(dir.join("a"), name, value, XattrFlags::empty()).unwrap()
        };
        let leak = |form: &str| format!("an attribute of `/a` has the secret `TOKEN`, {form}");
        check(set("user.note", b"<s3cr3t-value>"), Some(&leak("as it is")));
        check(set("user.s3cr3t-value", b""), Some(&leak("as it is")));
        check(set("user.note", b"czNjcjN0LXZhbHVl"), Some(&leak("in base64")));
        check(set("user.note", b"s3cr3t"), None);
        let on_top = |dir: &Path| setxattr(dir, "user.note", b"s3cr3t-value", XattrFlags::empty()).unwrap();
        check(on_top, Some("an attribute of `/` has the secret `TOKEN`, as it is"));
    }

    /// A user who gives up is not told that there is no secret.
    #[test]
    fn who_gives_up_gets_no_verdict() {
        let (dir, cancel) = (tempfile::tempdir().unwrap(), Cancel::default());
        fs::write(dir.path().join("a"), "innocent").unwrap();
        cancel.cancel();
        assert!(guard().check(dir.path(), &cancel).is_err());
    }

    /// What a stage asks the archive for is kept with its result, and told when it fails.
    #[test]
    fn requests_are_looked_at() {
        let fetch = |address: &str| StageFetch {
            address: address.to_owned(),
            file: None,
            verdict: CacheStatus::Passed,
            problem: Some(format!("no archive has {address}")),
        };
        let mut asked = [fetch("http://a/x"), fetch("http://a/?t=s3cr3t-value")];
        let error = guard().take_from(&mut asked).unwrap().to_string();
        assert_eq!(error, "the request for `http://a/?t=[secret TOKEN]` has the secret `TOKEN`, as it is");
        assert_eq!(asked[1].problem.as_deref(), Some("no archive has http://a/?t=[secret TOKEN]"));
        assert!(guard().take_from(&mut [fetch("http://a/x")]).is_none());
    }

    #[test]
    fn an_error_does_not_tell_a_secret() {
        let guard = guard();
        let error = StageError::NothingToCopy { path: "/s3cr3t-value".to_owned(), rootfs: "a".to_owned() };
        let told = SecretGuard::harmless(Some(&guard), error).in_a_line();
        assert!(told.starts_with("the error `there is no `/[secret TOKEN]` in `a`` has"), "{told}");
    }
}
