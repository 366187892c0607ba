//! A fake archive with one suite and two packages, on a fake mirror, trusted by a fake verifier.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ibuild_cache::{Digest, MemoryIndex, Sha256, Store};
use ibuild_debian::{Base, Known};
use ibuild_packages::{
    Acceptance, Archive, ArchiveFile, ArchiveView, Fetcher, Lock, NullFetchObserver, Origin, PackageError,
    Patience, Staleness, Upstream, Verified, Verifier, VerifyError, record,
};

use crate::upstream::{FakeUpstream, Reply};

/// A name with both characters that apt encodes.
pub const SMALL: &str = "pool/main/s/small_1+b~1_amd64.deb";
pub const BIG: &str = "pool/main/b/big_1_all.deb";

/// Believes everything.
pub struct FakeVerifier;

impl Verifier for FakeVerifier {
    fn verify(&self, signed: &[u8]) -> Result<Verified, VerifyError> {
        Ok(Verified { text: String::from_utf8_lossy(signed).into_owned(), signers: Vec::new() })
    }

    fn trust(&self) -> Result<Sha256, VerifyError> {
        Ok(sha256(b"nobody"))
    }
}

pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hasher = <Sha256 as Digest>::Hasher::default();
    Sha256::update(&mut hasher, bytes);
    Sha256::finish(hasher)
}

/// Bytes that differ everywhere, so that a misplaced part is noticed.
pub fn noise(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ seed).collect()
}

pub fn small() -> Vec<u8> {
    noise(1, 10_000)
}

pub fn big() -> Vec<u8> {
    noise(2, 3_000_000)
}

/// A store, a mirror and a fetcher between them.
pub struct Setup {
    _dir: tempfile::TempDir,
    pub upstream: FakeUpstream,
    pub store: Store,
    pub fetcher: Fetcher,
}

impl Setup {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start();
        let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
        let fetcher = fetcher(&store, Upstream::Mirrors(upstream.mirrors()));
        Self { _dir: dir, upstream, store, fetcher }
    }

    /// With the fake archive on the mirror.
    pub fn with_archive() -> Self {
        let setup = Self::new();
        setup.publish("Sat, 12 Sep 2026 07:55:41 UTC");
        setup
    }

    /// As of a date; lines of the Release may follow after it.
    pub fn publish(&self, date: &str) {
        self.publish_packages(date, &[("small", SMALL, small()), ("big", BIG, big())]);
    }

    /// With these packages: names, paths and bytes.
    pub fn publish_packages(&self, date: &str, packages: &[(&str, &str, Vec<u8>)]) {
        let stanza = |name: &str, path: &str, bytes: &[u8]| {
            let (size, digest) = (bytes.len(), sha256(bytes).hex());
            format!(
                "Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
            )
        };
        let stanzas: String = packages.iter().map(|(name, path, bytes)| stanza(name, path, bytes)).collect();
        let (size, digest) = (stanzas.len(), sha256(stanzas.as_bytes()).hex());
        let release = format!(
            "Suite: stable\nCodename: trixie\nDate: {date}\nSHA256:\n {digest} {size} main/binary-amd64/Packages\n \
             {} 5 main/gone\n",
            sha256(b"gone!").hex()
        );
        let publish =
            |path: &str, bytes| self.upstream.reply(&format!("/debian/{path}"), [Reply::File(bytes)]);
        publish("dists/trixie/InRelease", release.into_bytes());
        publish("dists/trixie/main/binary-amd64/Packages", stanzas.into_bytes());
        for (_, path, bytes) in packages {
            publish(&path.replace('+', "%2b").replace('~', "%7e"), bytes.clone());
        }
    }

    /// With one source package of one file, whose path is told. The file itself is not there yet.
    pub fn publish_source(&self, date: &str, directory: &str, name: &str, bytes: &[u8]) -> String {
        let (size, digest) = (bytes.len(), sha256(bytes).hex());
        let index =
            format!("Package: small\nDirectory: {directory}\nChecksums-Sha256:\n {digest} {size} {name}\n\n");
        let (size, digest) = (index.len(), sha256(index.as_bytes()).hex());
        let release = format!(
            "Suite: stable\nCodename: trixie\nDate: {date}\nSHA256:\n {digest} {size} main/source/Sources\n"
        );
        let publish = |path: &str, text: String| self.upstream.reply(path, [Reply::File(text.into_bytes())]);
        publish("/debian/dists/trixie/InRelease", release);
        publish("/debian/dists/trixie/main/source/Sources", index);
        format!("{directory}/{name}")
    }

    pub fn record(&self) -> Result<Lock, PackageError> {
        self.record_after(&Lock::default(), &[])
    }

    /// With something locked already, on 14 September 2026.
    pub fn record_after(&self, before: &Lock, tolerated: &[Staleness]) -> Result<Lock, PackageError> {
        let now = "2026-09-14T00:00:00Z".parse().unwrap();
        let acceptance = Acceptance { now, lock: before, tolerated };
        let mut lock = before.clone();
        lock.set_archive(
            "debian",
            record(&self.store, &archive(), &self.fetcher, &FakeVerifier, acceptance)?,
        );
        Ok(lock)
    }

    pub fn view(&self, lock: &Lock) -> Result<Arc<ArchiveView>, PackageError> {
        ArchiveView::open(&self.store, &archive(), lock, &self.fetcher, &FakeVerifier).map(Arc::new)
    }
}

pub fn archive() -> Archive {
    Archive {
        name: "debian".to_owned(),
        suites: vec!["trixie".to_owned()],
        origin: Origin::Debian { security: None },
        components: vec!["main".to_owned()],
        architecture: "amd64".to_owned(),
        foreign: Vec::new(),
    }
}

pub fn fetcher(store: &Store, upstream: Upstream) -> Fetcher {
    let patience = Patience {
        stall: Duration::from_millis(500),
        attempts: NonZeroU32::new(3).unwrap(),
        pause: Duration::from_millis(5),
    };
    Fetcher::new(store, upstream, patience, Arc::new(NullFetchObserver)).unwrap()
}

pub fn file(paths: &[&str], bytes: &[u8]) -> ArchiveFile {
    let known = Known { sha256: sha256(bytes), size: bytes.len() as u64 };
    ArchiveFile { base: Base::Main, paths: paths.iter().map(|path| (*path).to_owned()).collect(), known }
}
