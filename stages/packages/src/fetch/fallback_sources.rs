//! Where files are that the mirrors do not have any more: in other stores, which know them by digest, and with snapshot services,
//! which know how an archive was at a moment. Wherever a file comes from, its digest decides.
//!
//! The dates at which a snapshot service is asked come from the lock, when a view is opened. A file has no date of its
//! own, because the same bytes are in many states of an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ibuild_cache::Sha256;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::PackageError;
use crate::fetch::archive_file::ArchiveFile;
use ibuild_debian::{Base, Timestamp, Url, UrlError};

/// Connections to snapshot services at a time: they are run for history, not for builds.
const SNAPSHOT_CONNECTIONS: usize = 2;

/// The longest wait that a snapshot service may ask for; one that wants more is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A service looks for the last state before a moment, and mirrors get a state hours after its date.
const LAG: u64 = 24 * 60 * 60;

/// The directory of a store that has packages.
const PACKAGES: &str = "packages";

/// Places besides the mirrors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FallbackSources {
    directories: Vec<PathBuf>,
    servers: Vec<Url>,
    snapshots: Vec<Url>,
}

/// Why a place cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FallbackError {
    /// The text is no address.
    #[error("cannot use an address in `{setting}`")]
    Address {
        /// The setting that has it.
        setting: &'static str,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// There is no store.
    #[error("there is no store in `{}`, which `stores` names", .0.display())]
    NoStore(PathBuf),
}

impl FallbackError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => "an address looks like `http://snapshot.debian.org/archive/debian`",
            Self::NoStore(_) => {
                "name the directory that has `packages` in it, or take it out of `stores` in `ibuild.local.toml`"
            }
        }
    }
}

impl FallbackSources {
    /// Stores are directories, or addresses of the `packages` directory of one; snapshot services are addresses of the archive,
    /// without a moment.
    pub fn parse(stores: &[String], snapshots: &[String]) -> Result<Self, FallbackError> {
        let address = |setting| {
            move |text: &String| text.parse().map_err(|source| FallbackError::Address { setting, source })
        };
        let (servers, directories): (Vec<_>, Vec<_>) =
            stores.iter().cloned().partition(|store| store.contains("://"));
        let directories: Vec<_> = directories.into_iter().map(PathBuf::from).collect();
        if let Some(missing) = directories.iter().find(|dir| !dir.join(PACKAGES).is_dir()) {
            return Err(FallbackError::NoStore(missing.clone()));
        }
        Ok(Self {
            directories,
            servers: servers.iter().map(address("stores")).collect::<Result<_, _>>()?,
            snapshots: snapshots.iter().map(address("snapshots")).collect::<Result<_, _>>()?,
        })
    }

    /// Without what needs a network.
    pub fn offline(self) -> Self {
        Self { directories: self.directories, ..Self::default() }
    }

    /// All addresses.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &Url> {
        self.servers.iter().chain(&self.snapshots)
    }

    /// Files of other stores on this machine that may be the one with a digest.
    pub(crate) fn files(&self, digest: &Sha256) -> Vec<PathBuf> {
        let name = by_digest(digest);
        self.directories.iter().map(|dir| dir.join(PACKAGES).join(&name)).collect()
    }

    /// The same at other machines.
    pub(crate) fn in_stores(&self, digest: &Sha256) -> Vec<Url> {
        let name = by_digest(digest);
        self.servers.iter().map(|server| server.join(&name)).collect()
    }

    /// Addresses of a file as the archive was at these dates, the last one first.
    pub(crate) fn in_snapshots(&self, file: &ArchiveFile, snapshot_dates: &BTreeSet<Timestamp>) -> Vec<Url> {
        let snapshot_dates =
            snapshot_dates.iter().rev().flat_map(|moment| [*moment, Timestamp(moment.0 + LAG)]);
        let places = snapshot_dates.flat_map(|moment| self.snapshots.iter().map(move |url| (url, moment)));
        let services = places.filter(|(url, _)| serves(url, &file.base));
        let under = |(url, moment): (&Url, Timestamp)| {
            let directory = url.join(&moment.compact());
            file.paths.iter().map(|path| directory.join(path)).collect::<Vec<_>>()
        };
        services.flat_map(under).collect()
    }
}

/// As stores lay their files out.
fn by_digest(digest: &Sha256) -> String {
    let hex = digest.hex();
    format!("{}/{}", &hex[..2], &hex[2..])
}

/// Services have a directory for each archive of Debian's, called as on mirrors.
fn serves(url: &Url, base: &Base) -> bool {
    let is_security = url.path().ends_with("debian-security");
    match base {
        Base::Main => !is_security,
        Base::Security => is_security,
        Base::At(_) => false,
    }
}

/// Reads a file that may be the one that is wanted; nothing that is larger.
pub(crate) fn open_if_there(path: &Path, size: u64) -> Option<io::Take<File>> {
    let file = File::open(path).ok()?;
    let fits = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == size);
    fits.then(|| file.take(size))
}

/// The dates at which what is locked was made.
#[derive(Default)]
pub(crate) struct SnapshotDates(Mutex<BTreeMap<Base, BTreeSet<Timestamp>>>);

impl SnapshotDates {
    pub(crate) fn note(&self, base: &Base, moment: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(base.clone()).or_default().insert(moment);
    }

    pub(crate) fn of(&self, base: &Base) -> BTreeSet<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(base).cloned().unwrap_or_default()
    }
}

/// Waits for one's turn with the snapshot services.
pub(crate) struct RateLimiter {
    places: Semaphore,
    not_before: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub(crate) fn new() -> Self {
        Self { places: Semaphore::new(SNAPSHOT_CONNECTIONS), not_before: Mutex::new(None) }
    }

    /// A connection at last.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        let place = self.places.acquire().await.expect("the semaphore is never closed");
        loop {
            let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            match not_before.filter(|moment| *moment > Instant::now()) {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => return place,
            }
        }
    }

    /// Nobody asks before `pause` is over. Whether that is worth waiting for.
    pub(crate) fn wait(&self, pause: Duration) -> bool {
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Some(Instant::now() + pause.min(LONGEST_WAIT)));
        pause <= LONGEST_WAIT
    }
}

impl From<FallbackError> for PackageError {
    fn from(error: FallbackError) -> Self {
        Self::FallbackSources(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_debian::Known;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn texts(urls: &[Url]) -> Vec<String> {
        urls.iter().map(Url::to_string).collect()
    }

    #[test]
    fn stores_know_files_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("packages")).unwrap();
        let here = dir.path().display().to_string();
        let stores = [here.clone(), "http://ci.example/packages/".to_owned()];
        let elsewhere = FallbackSources::parse(&stores, &[]).unwrap();
        let digest = DIGEST.parse().unwrap();
        let name = "01/23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(elsewhere.files(&digest), [dir.path().join("packages").join(name)]);
        assert_eq!(texts(&elsewhere.in_stores(&digest)), [format!("http://ci.example/packages/{name}")]);
        let offline = elsewhere.offline();
        assert_eq!((offline.files(&digest).len(), offline.urls().count()), (1, 0));
    }

    #[test]
    fn services_know_moments() {
        let snapshots = ["http://s.example/archive/debian", "http://s.example/archive/debian-security"];
        let elsewhere = FallbackSources::parse(&[], &snapshots.map(str::to_owned)).unwrap();
        let known = Known { sha256: DIGEST.parse().unwrap(), size: 1 };
        let file = |base| ArchiveFile { base, paths: vec!["pool/g++_1~2.deb".to_owned()], known };
        let snapshot_dates =
            ["2026-09-12T07:55:41Z", "2026-11-01T00:00:00Z"].map(|moment| moment.parse().unwrap());
        let urls = texts(&elsewhere.in_snapshots(&file(Base::Main), &snapshot_dates.into()));
        let url = |moment: &str| format!("http://s.example/archive/debian/{moment}/pool/g%2b%2b_1%7e2.deb");
        let expected =
            ["20261101T000000Z", "20261102T000000Z", "20260912T075541Z", "20260913T075541Z"].map(url);
        assert_eq!(urls, expected);
        let security = texts(&elsewhere.in_snapshots(&file(Base::Security), &snapshot_dates.into()));
        assert!(security[0].starts_with("http://s.example/archive/debian-security/20261101T000000Z/"));
        assert!(elsewhere.in_snapshots(&file(Base::Main), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn places_that_cannot_be_used() {
        let check = |stores: &[&str], snapshots: &[&str], expected: &str| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let error = FallbackSources::parse(&owned(stores), &owned(snapshots)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["/nowhere"], &[], "there is no store in `/nowhere`");
        check(&["ftp://host/packages"], &[], "an address in `stores`");
        check(&[], &["snapshot.example"], "an address in `snapshots`");
    }
}
