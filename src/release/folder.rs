//! A release folder on its way to its place: all of it comes at once, or nothing.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ibuild_stages::release::{Envelope, Signature, Sums, pre_authentication_encoding, read_checksums};
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use tempfile::TempDir;

use super::sums::{is_signature, names, unsigned_files};
use super::{Index, RECORD, SIGNED_RECORD, Signer};
use crate::error::{Context, Result, UsageError};

/// With this begin the names of folders on their way.
const PREFIX: &str = ".ibuild-release-";

/// A folder that is being filled beside its place. It is removed unless it is published.
#[derive(Debug)]
pub struct StagedRelease {
    staging: TempDir,
    place: PathBuf,
    /// Held as long as somebody works here: what a killed process has left can be told by it.
    _lock: File,
}

/// What came of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The folder is new.
    New,
    /// The same release was there, and has these signatures now.
    Signed,
    /// The very same was there.
    Unchanged,
}

impl StagedRelease {
    /// Makes an empty folder beside a place, and removes what killed processes have left there.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if something else than a release is in the place.
    pub fn beside(place: &Path) -> Result<Self> {
        let place =
            std::path::absolute(place).with_context(|| format!("cannot find `{}`", place.display()))?;
        refuse_other(&place)?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        let context = || format!("cannot write into `{}`", parent.display());
        fs::create_dir_all(parent).with_context(context)?;
        // Nobody may find the new folder before it is locked and take it for a killed process's.
        let alone = File::open(parent).with_context(context)?;
        alone.lock().with_context(context)?;
        sweep(parent);
        let staging = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).with_context(context)?;
        let lock = File::open(staging.path()).with_context(context)?;
        lock.lock().with_context(context)?;
        Ok(Self { staging, place, _lock: lock })
    }

    /// Where it is being filled.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Where it goes.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Adds signatures of the checksums and of each build record.
    ///
    /// # Errors
    ///
    /// If there is no signature, or it cannot be written.
    pub fn sign(&self, signers: &[Signer]) -> Result<()> {
        if signers.is_empty() {
            return Ok(());
        }
        let sums = Sums::Sha256.file();
        let text = self.read(sums)?;
        for (at, signer) in signers.iter().enumerate() {
            let name = format!("{sums}{}", signer.ending());
            let is_second = signers[..at].iter().any(|it| it.ending() == signer.ending());
            let before = match (is_second, signer) {
                (false, _) => Vec::new(),
                // One after the other, as gpgv reads them.
                (true, Signer::Gpg(_)) => self.read(&name)?,
                (true, _) => return Err(two_of_a_kind(&name).into()),
            };
            self.write(&name, &[before, signer.sign(&text)?].concat())?;
        }
        let records = unsigned_files(self.path())?.into_iter().filter(|name| name.ends_with(RECORD));
        for name in records {
            let signed = sign_record(&self.read(&name)?, signers)?;
            let image = name.strip_suffix(RECORD).unwrap_or(&name);
            self.write(&format!("{image}{SIGNED_RECORD}"), signed.as_bytes())?;
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path().join(name);
        fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Puts the folder into its place. The same release there gets the new signatures; another one is refused.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if another release is in the place.
    pub fn publish(self) -> Result<Published> {
        let context = || format!("cannot write `{}`", self.place.display());
        make_durable(self.path()).with_context(context)?;
        if is_empty(&self.place) {
            fs::rename(self.path(), &self.place).with_context(context)?;
            return self.done(Published::New);
        }
        refuse_other(&self.place)?;
        if let Some(name) = first_difference(self.path(), &self.place)? {
            let version = Index::read(&self.place)?.version;
            let message =
                format!("`{}` has another release {version}: `{name}` differs", self.place.display());
            let hint =
                "a release is never overwritten: choose another `--version` or `--output`, or remove it";
            return Err(UsageError::new(message).hint(hint).into());
        }
        let has_signatures = names(self.path())?.iter().any(|name| is_signature(name));
        if !has_signatures {
            return Ok(Published::Unchanged);
        }
        self.keep_signatures()?;
        renameat2(AT_FDCWD, self.path(), AT_FDCWD, &self.place, RenameFlags::RENAME_EXCHANGE)
            .with_context(context)?;
        Ok(Published::Signed)
    }

    /// Takes over what others have signed: the release is the same.
    fn keep_signatures(&self) -> Result<()> {
        for name in names(&self.place)?.into_iter().filter(|name| is_signature(name)) {
            let (old, new) = (self.place.join(&name), self.path().join(&name));
            let context = || format!("cannot copy `{}`", old.display());
            if !new.exists() {
                fs::copy(&old, &new).with_context(context)?;
            } else if name.ends_with(".gpg") {
                let both = [fs::read(&old).with_context(context)?, fs::read(&new).with_context(context)?];
                fs::write(&new, both.concat()).with_context(context)?;
            } else if name.ends_with(SIGNED_RECORD) {
                let read = |path: &Path| fs::read(path).ok().and_then(|text| Envelope::read(&text).ok());
                if let (Some(before), Some(now)) = (read(&old), read(&new)) {
                    fs::write(&new, now.joined(before).to_text()).with_context(context)?;
                }
            }
        }
        Ok(())
    }

    fn done(self, published: Published) -> Result<Published> {
        // The folder is not there any more under the name that it would be removed by.
        let _ = self.staging.keep();
        Ok(published)
    }
}

fn two_of_a_kind(name: &str) -> UsageError {
    UsageError::new(format!("`{name}` has room for one signature"))
        .hint("only signatures of gpg can stand one after the other")
}

/// A record in an envelope with its signatures: a line of JSON.
///
/// # Errors
///
/// If somebody does not sign.
pub fn sign_record(record: &[u8], signers: &[Signer]) -> Result<String> {
    let encoding = pre_authentication_encoding(record);
    let mut signatures = Vec::new();
    for signer in signers {
        signatures.push(Signature::new(&signer.key_id(), &signer.sign(&encoding)?));
    }
    Ok(Envelope::new(record, signatures).to_text())
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir)
        .map_or_else(|error| error.kind() == ErrorKind::NotFound, |mut entries| entries.next().is_none())
}

fn refuse_other(place: &Path) -> Result<()> {
    if is_empty(place) || place.join(Index::FILE).is_file() {
        return Ok(());
    }
    let error = UsageError::new(format!("`{}` is there, and is not a release folder", place.display()));
    Err(error.hint("`--output DIR` names another place").into())
}

/// The first file of a release that another folder has not, or has otherwise. Signatures are no part of it.
fn first_difference(new: &Path, old: &Path) -> Result<Option<String>> {
    let mut all = [unsigned_files(new)?, unsigned_files(old)?].concat();
    all.sort_unstable();
    all.dedup();
    for name in all {
        if !new.join(&name).is_file() || !old.join(&name).is_file() {
            return Ok(Some(name));
        }
    }
    // The sums name all the others, and who changed one of those is told by `--check`.
    let sums = |dir: &Path| {
        let text = fs::read_to_string(dir.join(Sums::Sha256.file())).unwrap_or_default();
        read_checksums(&text, Sums::Sha256).unwrap_or_default()
    };
    let (new, old) = (sums(new), sums(old));
    let other = new.iter().filter(|sum| sum.file != Sums::Sha512.file()).find(|sum| !old.contains(sum));
    Ok(other.map(|sum| sum.file.clone()).or_else(|| (new != old).then(|| Sums::Sha256.file().to_owned())))
}

/// The folder and its files get the modes of a folder of the user, and are on the disk.
fn make_durable(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        File::open(&path)?.sync_all()?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    File::open(dir)?.sync_all()
}

/// Removes folders that nobody works in any more.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        // Whatever else has such a name is not ours, and must not be waited for.
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let dir = File::options().read(true).custom_flags(flags.bits()).open(entry.path());
        let is_left = dir.is_ok_and(|dir| dir.try_lock().is_ok());
        if is_left {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(place: &Path, text: &str) -> StagedRelease {
        let staged = StagedRelease::beside(place).unwrap();
        let index = Index {
            v: 1,
            project: "p".into(),
            version: "1".into(),
            epoch: 0,
            ibuild: "0".into(),
            images: Vec::new(),
        };
        fs::write(staged.path().join(Index::FILE), index.to_text()).unwrap();
        fs::write(staged.path().join("x"), text).unwrap();
        crate::release::write_sums(staged.path(), Default::default()).unwrap();
        staged
    }

    #[test]
    fn a_release_comes_whole_and_is_never_overwritten() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let place = dir.path().join("a/r-1");
        assert_eq!(filled(&place, "one").publish().unwrap(), Published::New);
        assert_eq!(filled(&place, "one").publish().unwrap(), Published::Unchanged);
        let error = filled(&place, "other").publish().unwrap_err();
        assert!(error.to_string().contains("has another release 1"), "{error}");
        assert_eq!(fs::read_to_string(place.join("x")).unwrap(), "one");
        let signed = filled(&place, "one");
        signed.sign(&[Signer::Command("rev".to_owned())]).unwrap();
        assert_eq!(signed.publish().unwrap(), Published::Signed);
        assert!(place.join("SHA256SUMS.sig").is_file());
        assert_eq!(filled(&place, "one").publish().unwrap(), Published::Unchanged);
        assert!(place.join("SHA256SUMS.sig").is_file());
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_has_left_goes_and_what_is_no_release_stays() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(dir.path().join(".ibuild-release-abc")).unwrap();
        let place = dir.path().join("r");
        let staged = StagedRelease::beside(&place).unwrap();
        let other = StagedRelease::beside(&place).unwrap();
        assert!(staged.path().exists() && other.path().exists());
        assert!(!dir.path().join(".ibuild-release-abc").exists());
        drop(staged);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("thesis.txt"), "").unwrap();
        assert!(StagedRelease::beside(&place).unwrap_err().to_string().contains("is not a release folder"));
        assert!(other.publish().is_err());
        assert!(place.join("thesis.txt").exists());
    }
}
