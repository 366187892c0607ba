//! The signed roots of a living archive. A suite moves on only to a state that is signed and not older; whatever else a
//! mirror sends, or if it sends nothing, the last good state is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ibuild_cache::{Batch, Digest, Encoder, Record, Sha256, Store, Table};
use ibuild_debian::{Base, Known, Release, Suite, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::timeout;

use crate::archive::pinned::PinnedPocket;
use crate::archive::signed_release::trust;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetch_error::FetchReason;
use crate::fetch::shared::Shared;
use crate::proxy::found::{Root, RootState};
use crate::proxy::problem::Problem;
use crate::{PackageError, Pocket, Verifier};

/// apt waits 30 seconds. A client is better off with an older state than with none.
const LONGEST: Duration = Duration::from_secs(25);

/// So many states of a suite are kept, for clients that have not seen the last one yet.
const STATES: usize = 3;

/// A suite's name with the part of the archive that it is in.
type SuiteKey = (Base, Suite);

/// The roots of all suites that were asked for.
pub(crate) struct LatestReleases {
    store: Store,
    verifier: Arc<dyn Verifier>,
    /// For so long a root is not asked for again.
    max_age: Duration,
    /// The states of each suite, the latest first.
    adopted: RwLock<BTreeMap<SuiteKey, Vec<Arc<Adopted>>>>,
    /// What came of the last look at the mirror. Held while one looks, so that others wait for the same answer.
    checks: Mutex<BTreeMap<SuiteKey, Arc<tokio::sync::Mutex<Check>>>>,
}

/// A state of a suite.
struct Adopted {
    pinned: Arc<PinnedPocket>,
    signed: Bytes,
}

/// A look at the mirror.
#[derive(Default)]
struct Check {
    time: Option<Instant>,
    trouble: Option<String>,
}

impl LatestReleases {
    /// The roots that are remembered in the store, verified again.
    pub(crate) fn open(
        store: &Store,
        verifier: Arc<dyn Verifier>,
        max_age: Duration,
    ) -> Result<Self, PackageError> {
        let (adopted, checks) = Default::default();
        let roots = Self { store: store.clone(), verifier, max_age, adopted, checks };
        let remembered: Option<Remembered> = store.index().record(Table::Packages, &remembered_key())?;
        for RememberedRoot { base, suite, sha256 } in remembered.unwrap_or_default().0 {
            let Ok(suite) = suite.parse::<Suite>() else { continue };
            let Some(signed) = store.packages().read(&sha256)? else { continue };
            // One that the keyring does not vouch for any more is not served any more.
            if let Ok(adopted) = adopt(&roots.store, &*roots.verifier, &base, &suite, signed.into()) {
                roots.write(&base, &suite, Arc::new(adopted));
            }
        }
        Ok(roots)
    }

    /// The states of a suite, the latest first.
    pub(crate) fn states(&self, base: &Base, suite: &Suite) -> Vec<Arc<PinnedPocket>> {
        let adopted = self.adopted.read().unwrap_or_else(PoisonError::into_inner);
        let states = adopted.get(&(base.clone(), suite.clone()));
        states.into_iter().flatten().map(|state| state.pinned.clone()).collect()
    }

    /// The latest state of each suite of a part of the archive.
    pub(crate) fn current(&self, base: &Base) -> Vec<Arc<PinnedPocket>> {
        let adopted = self.adopted.read().unwrap_or_else(PoisonError::into_inner);
        let of_base = adopted.iter().filter(|((of, _), _)| of == base);
        of_base.filter_map(|(_, states)| Some(states.first()?.pinned.clone())).collect()
    }

    /// Whether the latest state of some suite lists an index.
    pub(crate) fn lists(&self, index: &Sha256) -> bool {
        let adopted = self.adopted.read().unwrap_or_else(PoisonError::into_inner);
        adopted.values().filter_map(|states| states.first()).any(|s| s.pinned.release.lists(index))
    }

    /// A suite's root: what the mirror has, or why the last good one has to do.
    pub(crate) async fn latest(
        &self,
        shared: &Arc<Shared>,
        base: &Base,
        suite: &Suite,
    ) -> Result<Root, Problem> {
        let key = (base.clone(), suite.clone());
        let check =
            self.checks.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let mut check = check.lock().await;
        let is_recent = check.time.is_some_and(|time| time.elapsed() < self.max_age);
        if !is_recent {
            let looked = self.look(shared, base, suite).await;
            let time = Some(Instant::now());
            match looked {
                Ok(trouble) => *check = Check { time, trouble },
                Err(problem) => {
                    // Nothing to fall back to: the next client may be luckier, and an unknown name is forgotten.
                    self.checks
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&(base.clone(), suite.clone()));
                    return Err(problem);
                }
            }
        }
        let state = match &check.trouble {
            Some(trouble) => RootState::Stale(trouble.clone()),
            None if is_recent => RootState::Recent,
            None => RootState::Fetched,
        };
        let adopted = self.adopted.read().unwrap_or_else(PoisonError::into_inner);
        let latest = adopted.get(&(base.clone(), suite.clone())).and_then(|states| states.first());
        let latest = latest.expect("a look at the mirror ends with a state");
        let PinnedPocket { pocket, inrelease, .. } = &*latest.pinned;
        let file = ArchiveFile { base: base.clone(), paths: vec![pocket.inrelease()], known: *inrelease };
        Ok(Root { file, signed: latest.signed.clone(), state })
    }

    /// Looks at the mirror. Afterwards there is a state, and maybe something wrong with the mirror; or there is none.
    async fn look(
        &self,
        shared: &Arc<Shared>,
        base: &Base,
        suite: &Suite,
    ) -> Result<Option<String>, Problem> {
        let path = suite.directory() + "InRelease";
        let before = self.states(base, suite).into_iter().next();
        let fetched = timeout(LONGEST, shared.whole(base, &path)).await;
        let signed = match (fetched, &before) {
            (Ok(Ok(signed)), _) => signed,
            (Ok(Err(e)), None) => return Err(e.into()),
            (Ok(Err(e)), Some(_)) => return Ok(Some(FetchReason::explain(&e))),
            (Err(_), None) => return Err(Problem::bad_mirror("the mirror does not answer")),
            (Err(_), Some(_)) => return Ok(Some("the mirror does not answer".to_owned())),
        };
        let (store, verifier) = (self.store.clone(), self.verifier.clone());
        let of = (base.clone(), suite.clone());
        let judged = spawn_blocking(move || adopt(&store, &*verifier, &of.0, &of.1, signed)).await;
        match (judged.expect("a root is judged without a panic"), before) {
            (Ok(new), before) => Ok(self.move_on(base, suite, new, before.as_deref())),
            (Err(e), Some(_)) => Ok(Some(explain(&e))),
            (Err(e), None) => Err(Problem::bad_mirror(explain(&e))),
        }
    }

    /// Adopts a signed state unless it is older than the one before.
    fn move_on(
        &self,
        base: &Base,
        suite: &Suite,
        new: Adopted,
        before: Option<&PinnedPocket>,
    ) -> Option<String> {
        let release = &new.pinned.release;
        let expired =
            release.expired(Timestamp::now()).map(|until| format!("the mirror's state expired on {until}"));
        match before {
            Some(before) if before.release.date > release.date => {
                let (old, new) = (release.date, before.release.date);
                return Some(format!("the mirror has the state of {old}, older than that of {new}"));
            }
            Some(before) if before.inrelease == new.pinned.inrelease => {}
            _ => {
                self.write(base, suite, Arc::new(new));
                // A state that cannot be remembered is served all the same.
                let _ = block_in_place(|| self.remember());
            }
        }
        expired
    }

    fn write(&self, base: &Base, suite: &Suite, new: Arc<Adopted>) {
        let mut adopted = self.adopted.write().unwrap_or_else(PoisonError::into_inner);
        let states = adopted.entry((base.clone(), suite.clone())).or_default();
        states.insert(0, new);
        states.truncate(STATES);
    }

    fn remember(&self) -> Result<(), PackageError> {
        let latest: Vec<_> = {
            let adopted = self.adopted.read().unwrap_or_else(PoisonError::into_inner);
            adopted.iter().filter_map(|(key, states)| Some((key.clone(), states.first()?.clone()))).collect()
        };
        let mut roots = Vec::new();
        for ((base, suite), state) in latest {
            let sha256 = self.store.packages().put(&state.signed)?.digest;
            roots.push(RememberedRoot { base, suite: suite.to_string(), sha256 });
        }
        let mut batch = Batch::default();
        batch.put_record(Table::Packages, &remembered_key(), &Remembered(roots));
        Ok(self.store.index().commit(batch)?)
    }
}

/// Verifies a root.
fn adopt(
    store: &Store,
    verifier: &dyn Verifier,
    base: &Base,
    suite: &Suite,
    signed: Bytes,
) -> Result<Adopted, PackageError> {
    let pocket =
        Pocket { base: base.clone(), suite: suite.clone(), components: Vec::new(), foreign: Vec::new() };
    let release: Release = trust(store, &pocket, &signed, verifier)?;
    let inrelease = Known { sha256: Sha256::of(&signed), size: signed.len() as u64 };
    Ok(Adopted { pinned: Arc::new(PinnedPocket { pocket, inrelease, release }), signed })
}

fn explain(error: &PackageError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}{hint}", FetchReason::explain(error))
}

/// The latest root of every suite that was served.
#[derive(Default, Serialize, Deserialize)]
struct Remembered(Vec<RememberedRoot>);

#[derive(Serialize, Deserialize)]
struct RememberedRoot {
    base: Base,
    suite: String,
    sha256: Sha256,
}

impl Record for Remembered {
    const SCHEMA: u16 = 1;
}

fn remembered_key() -> Vec<u8> {
    Encoder::new("ibuild living roots 1").finish()
}
