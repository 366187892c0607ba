//! Signed roots: fetched whole, verified once, remembered. `record` adopts the mirror's current state, `open`
//! insists on a locked one.

use serde::{Deserialize, Serialize};

use ibuild_cache::{Batch, Digest, Encoder, Record, Sha256, Store, Table};

use crate::archive::lock::{Lock, LockedRelease};
use crate::archive::pinned::PinnedPocket;
use crate::archive::verify::{Verified, Verifier};
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::fetcher::Fetcher;
use crate::{Archive, PackageError, Pocket};
use ibuild_debian::{Known, Name, Release, Timestamp};

/// Downloads at a time when an archive is adopted: there are no more indices than that.
const PARALLEL: usize = 4;

/// Something about a signed state that makes it unfit to be adopted, unless somebody wants it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// Its `Valid-Until` is over: a mirror that is up to date has another one.
    Expired,
    /// Its `Valid-Until` is over, and so is that of what is locked.
    ExpiredAsLocked,
    /// It is older than the one that is locked: a mirror is behind, or somebody plays an old state back.
    RolledBack,
}

/// What a state has to be besides signed.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'a> {
    /// The time.
    pub now: Timestamp,
    /// What is locked so far.
    pub lock: &'a Lock,
    /// What is taken all the same.
    pub tolerated: &'a [Staleness],
}

impl Acceptance<'_> {
    fn check(&self, archive: &str, pocket: &Pocket, release: &Release) -> Result<(), PackageError> {
        let is_tolerated = |staleness| self.tolerated.contains(&staleness);
        let suite = || pocket.suite.clone();
        let locked = self.lock.release(archive, &pocket.base, &pocket.suite);
        let is_over = |locked: &LockedRelease| locked.valid_until.is_some_and(|until| until < self.now);
        let may_expire = is_tolerated(Staleness::Expired)
            || (is_tolerated(Staleness::ExpiredAsLocked) && locked.is_some_and(is_over));
        if let Some(until) = release.expired(self.now).filter(|_| !may_expire) {
            return Err(PackageError::Expired { suite: suite(), until });
        }
        let newer = locked.map(|locked| locked.date).filter(|locked| *locked > release.date);
        match newer.filter(|_| !is_tolerated(Staleness::RolledBack)) {
            Some(locked) => Err(PackageError::RolledBack { suite: suite(), locked, found: release.date }),
            None => Ok(()),
        }
    }
}

/// The current root of a suite, verified and accepted.
struct Root {
    signed: Vec<u8>,
    pinned: PinnedPocket,
}

fn current(
    store: &Store,
    archive: &Archive,
    fetcher: &Fetcher,
    verifier: &dyn Verifier,
    acceptance: Acceptance<'_>,
) -> Result<Vec<Root>, PackageError> {
    let look = |pocket: Pocket| {
        let signed = fetcher.fetch_root(&pocket.base, &pocket.inrelease()).map_err(unfetched(&pocket))?;
        let release = trust(store, &pocket, &signed, verifier)?;
        acceptance.check(&archive.name, &pocket, &release)?;
        let inrelease = Known { sha256: Sha256::of(&signed), size: signed.len() as u64 };
        Ok(Root { signed, pinned: PinnedPocket { pocket, inrelease, release } })
    };
    archive.pockets()?.into_iter().map(look).collect()
}

/// A mirror that answers, but has no such file, has no such suite.
fn unfetched(pocket: &Pocket) -> impl Fn(FetchError) -> PackageError {
    let suite = pocket.suite.clone();
    move |source| match source.reason {
        FetchReason::NotFound(_) => PackageError::NoRoot { suite: suite.clone(), source },
        _ => source.into(),
    }
}

/// What a lock of the current state would say, by a look at the signed root of each suite and nothing else.
pub fn probe(
    store: &Store,
    archive: &Archive,
    fetcher: &Fetcher,
    verifier: &dyn Verifier,
    acceptance: Acceptance<'_>,
) -> Result<Vec<LockedRelease>, PackageError> {
    let roots = current(store, archive, fetcher, verifier, acceptance)?;
    roots.into_iter().map(|root| Ok(lock_entry(archive.name.parse()?, root.pinned))).collect()
}

/// Fetches and verifies the current root of every suite and the indices that are declared, all or nothing, and
/// returns what the lock has to say. Afterwards the store has all that [`crate::ArchiveView::open`] and
/// a resolution need.
pub fn record(
    store: &Store,
    archive: &Archive,
    fetcher: &Fetcher,
    verifier: &dyn Verifier,
    acceptance: Acceptance<'_>,
) -> Result<Vec<LockedRelease>, PackageError> {
    let architecture = archive.architecture.parse()?;
    let roots = current(store, archive, fetcher, verifier, acceptance)?;
    let mut indices = Vec::new();
    for root in &roots {
        indices.extend(root.pinned.declared_indices(&architecture)?);
    }
    fetcher.fetch_all(&indices, PARALLEL)?;
    // The roots come last: a suite whose root is in the store is complete.
    let mut locked = Vec::new();
    for Root { signed, pinned } in roots {
        store.packages().put(&signed)?;
        locked.push(lock_entry(archive.name.parse()?, pinned));
    }
    Ok(locked)
}

fn lock_entry(archive: Name, PinnedPocket { pocket, inrelease, release }: PinnedPocket) -> LockedRelease {
    let Release { date, valid_until, .. } = release;
    LockedRelease { archive, base: pocket.base, suite: pocket.suite, inrelease, date, valid_until }
}

/// The verified Release of a locked root.
pub(crate) fn open(
    store: &Store,
    pocket: &Pocket,
    locked: Known,
    fetcher: &Fetcher,
    verifier: &dyn Verifier,
) -> Result<Release, PackageError> {
    if let Some(signed) = store.packages().read(&locked.sha256)? {
        return trust(store, pocket, &signed, verifier);
    }
    let signed = locked_root(store, pocket, locked, fetcher)?;
    let release = trust(store, pocket, &signed, verifier)?;
    store.packages().put(&signed)?;
    Ok(release)
}

/// A locked root from the mirror, if that still has it, or from elsewhere.
fn locked_root(
    store: &Store,
    pocket: &Pocket,
    locked: Known,
    fetcher: &Fetcher,
) -> Result<Vec<u8>, PackageError> {
    let now = match fetcher.fetch_root(&pocket.base, &pocket.inrelease()) {
        Ok(signed) if Sha256::of(&signed) == locked.sha256 => return Ok(signed),
        now => now,
    };
    let file = ArchiveFile { base: pocket.base.clone(), paths: vec![pocket.inrelease()], known: locked };
    if fetcher.finds_elsewhere(&file)
        && let Some(signed) = store.packages().read(&locked.sha256)?
    {
        return Ok(signed);
    }
    let found = Sha256::of(&now?);
    Err(PackageError::MovedOn { suite: pocket.suite.clone(), locked: locked.sha256, found })
}

/// Verifies a root, or remembers that it has been verified with the same keys.
pub(crate) fn trust(
    store: &Store,
    pocket: &Pocket,
    signed: &[u8],
    verifier: &dyn Verifier,
) -> Result<Release, PackageError> {
    let suite = || pocket.suite.clone();
    let refused = |source| PackageError::Verify { suite: pocket.suite.clone(), source };
    let key = verdict_key(Sha256::of(signed), verifier.trust().map_err(refused)?);
    let text = match remembered(store, &key)? {
        Some(text) => text,
        None => {
            let verified = verifier.verify(signed).map_err(refused)?;
            // What cannot be remembered is verified again.
            let _ = remember(store, &key, &verified);
            verified.text
        }
    };
    let release = Release::parse(&text).map_err(|source| PackageError::Release { suite: suite(), source })?;
    // Who has one key for one archive may leave out what Debian never does.
    let is_nameless = !pocket.base.is_debian() && release.suite.is_none() && release.codename.is_none();
    if !pocket.suite.is_flat() && !is_nameless && !release.is_suite(pocket.suite.as_str()) {
        return Err(PackageError::OtherSuite { suite: suite() });
    }
    Ok(release)
}

/// That a root was signed by one of a set of keys; its signed text is a blob.
#[derive(Serialize, Deserialize)]
struct CacheStatus {
    text: Sha256,
    signers: Vec<String>,
}

impl Record for CacheStatus {
    const SCHEMA: u16 = 1;
}

fn verdict_key(root: Sha256, keyring: Sha256) -> Vec<u8> {
    let mut encoder = Encoder::new("ibuild verdict 1");
    encoder.digest(root.as_bytes());
    encoder.digest(keyring.as_bytes());
    encoder.finish()
}

fn remembered(store: &Store, key: &[u8]) -> Result<Option<String>, PackageError> {
    let Some(verdict) = store.index().record::<CacheStatus>(Table::Packages, key)? else { return Ok(None) };
    let bytes = store.packages().read(&verdict.text)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn remember(store: &Store, key: &[u8], verified: &Verified) -> Result<(), PackageError> {
    let text = store.packages().put(verified.text.as_bytes())?.digest;
    let mut batch = Batch::default();
    batch.put_record(Table::Packages, key, &CacheStatus { text, signers: verified.signers.clone() });
    Ok(store.index().commit(batch)?)
}
