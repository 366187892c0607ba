//! What stages were made of, as the proxy saw it while they ran. It is kept with the result. The packages are written into the
//! lock; all that a stage asked for tells whether another state of the archive would be the same to it.

use std::collections::BTreeSet;

use ibuild_cache::{ActionKey, Batch, Encoder, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::packages::{CacheStatus, Course, DebRef, Lock, LockedDeb, PackageError, RequestTrace, StageFetch};
use ibuild_debian::{Identity, Name, identify};

/// The packages of one action.
#[derive(Serialize, Deserialize)]
struct Used(Vec<DebRef>);

impl Record for Used {
    const SCHEMA: u16 = 1;
}

/// What is known of how an action came to its packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PackageUsage {
    /// The packages that it used.
    pub debs: Vec<DebRef>,
    /// All that it asked for; `None` if not all of that tells of the archive.
    pub asked: Option<RequestTrace>,
    /// How apt said that it would install them, if the step is one that lets it and asked.
    pub course: Option<Course>,
}

impl PackageUsage {
    /// What the requests of a stage show; `None` if a package among them could not be kept, so that not all are known.
    pub(crate) fn of(store: &Store, fetches: &[StageFetch]) -> Result<Option<Self>, StageError> {
        let debs = debs_among(store, fetches)?;
        Ok(debs.map(|debs| Self { debs, asked: RequestTrace::of(fetches), course: None }))
    }

    /// What is remembered of an action.
    pub(crate) fn find(store: &Store, action: &ActionKey) -> Result<Option<Self>, StageError> {
        let Some(debs) = used_by(store, action)? else { return Ok(None) };
        let asked = store.index().record(Table::Packages, &Part::RequestTrace.row(action))?;
        let course = store.index().record(Table::Packages, &Part::Course.row(action))?;
        Ok(Some(Self { debs, asked, course }))
    }

    /// Adds to the facts of a result how it came to its packages, if that is known. What is known of an earlier run of the
    /// same action is not true of this one.
    pub(crate) fn record(evidence: Option<Self>, facts: &mut Batch, action: &ActionKey) {
        forget(facts, action);
        let Some(Self { debs, asked, course }) = evidence else { return };
        facts.put_record(Table::Packages, &Part::Used.row(action), &Used(debs));
        if let Some(asked) = asked {
            facts.put_record(Table::Packages, &Part::RequestTrace.row(action), &asked);
        }
        if let Some(course) = course {
            facts.put_record(Table::Packages, &Part::Course.row(action), &course);
        }
    }
}

/// A row of an action.
#[derive(Clone, Copy)]
enum Part {
    Used,
    RequestTrace,
    Course,
}

impl Part {
    const ALL: [Self; 3] = [Self::Used, Self::RequestTrace, Self::Course];

    /// What the keys of all its rows begin with.
    fn rows(self) -> Encoder {
        Encoder::new(match self {
            Self::Used => "ibuild used packages 1",
            Self::RequestTrace => "ibuild asked for 1",
            Self::Course => "ibuild apt course 1",
        })
    }

    fn row(self, action: &ActionKey) -> Vec<u8> {
        let mut key = self.rows();
        key.digest(action.as_bytes());
        key.finish()
    }
}

/// Adds to a batch that nothing is known of how an action came to its packages. It goes with its result.
pub(crate) fn forget(batch: &mut Batch, action: &ActionKey) {
    rows_of(action).for_each(|row| batch.delete(Table::Packages, &row));
}

/// The keys of all rows that there may be of an action, in [`Table::Packages`].
pub(crate) fn rows_of(action: &ActionKey) -> impl Iterator<Item = Vec<u8>> {
    Part::ALL.into_iter().map(|part| part.row(action))
}

/// Whether what a batch says of how an action came to its packages can be what a stage was served: the lock has a line for each
/// package, and reads it back as it was.
pub(crate) fn is_well_formed(batch: &Batch, action: &ActionKey) -> bool {
    let row = Part::Used.row(action);
    let Some(value) = batch.value(Table::Packages, &row) else { return true };
    let Some(Used(debs)) = Used::from_bytes(value) else { return false };
    let archive: Name = "any".parse().expect("this is a name");
    let mut lock = Lock::default();
    let locked = debs.into_iter().map(|deb| LockedDeb { archive: archive.clone(), deb });
    lock.set_stage("any/any", locked);
    let text = lock.to_text();
    let is_plain = text.chars().all(|c| c == '\n' || !c.is_control());
    is_plain && Lock::parse(&text).is_ok_and(|read| read == lock)
}

/// The actions of which there is evidence.
pub(crate) fn actions(store: &Store) -> Result<BTreeSet<ActionKey>, StageError> {
    let mut actions = BTreeSet::new();
    for part in Part::ALL {
        let head = part.rows().finish();
        for (key, _) in store.index().scan(Table::Packages, &head)? {
            let action = key.get(head.len()..).and_then(digest_of);
            actions.extend(action.map(ActionKey::from_bytes));
        }
    }
    Ok(actions)
}

/// The digest that is all of an encoding.
fn digest_of(encoded: &[u8]) -> Option<[u8; 32]> {
    encoded.split_last_chunk::<32>().map(|(_, digest)| *digest)
}

/// The packages that an action used; `None` if that is not known.
pub fn used_by(store: &Store, action: &ActionKey) -> Result<Option<Vec<DebRef>>, StageError> {
    let used = store.index().record::<Used>(Table::Packages, &Part::Used.row(action))?;
    Ok(used.map(|used| used.0))
}

/// The packages among the files that a stage was served; `None` if one of them could not be kept, so that not all are known.
fn debs_among(store: &Store, fetches: &[StageFetch]) -> Result<Option<Vec<DebRef>>, StageError> {
    let mut debs = BTreeSet::new();
    for StageFetch { file, verdict, .. } in fetches {
        let Some(file) = file.as_ref().filter(|file| file.path().ends_with(".deb")) else { continue };
        if matches!(verdict, CacheStatus::Refused(_)) {
            continue;
        }
        if store.packages().size(&file.known.sha256)?.is_none() {
            return Ok(None);
        }
        let deb = identify(&store.packages().path(&file.known.sha256)).map_err(PackageError::from)?;
        let Identity { name, version, architecture } = deb;
        let (base, path, known) = (file.base.clone(), file.path().to_owned(), file.known);
        debs.insert(DebRef {
            name,
            version,
            architecture,
            base,
            path,
            sha256: known.sha256,
            size: known.size,
        });
    }
    Ok(Some(debs.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::ArchiveFile;
    use ibuild_cache::{MemoryIndex, Sha256};
    use ibuild_debian::{Base, Known};

    fn fetched(verdict: CacheStatus) -> StageFetch {
        let known = Known { sha256: Sha256::from_bytes([7; 32]), size: 9 };
        let file =
            ArchiveFile { base: Base::Main, paths: vec!["pool/main/a/a/a_1_all.deb".to_owned()], known };
        let address = format!("http://deb.debian.org/debian/{}", file.path());
        StageFetch { address, file: Some(file), verdict, problem: None }
    }

    /// It was served, and what it is can be seen by nobody any more.
    #[test]
    fn a_package_that_was_not_kept_leaves_the_packages_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        assert_eq!(PackageUsage::of(&store, &[fetched(CacheStatus::Passed)]).unwrap(), None);
    }

    #[test]
    fn a_refusal_leaves_open_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let refused = fetched(CacheStatus::Refused(hyper::StatusCode::NOT_FOUND));
        let evidence = PackageUsage::of(&store, &[refused]).unwrap();
        assert_eq!(evidence, Some(PackageUsage::default()));
        let nothing = PackageUsage::of(&store, &[]).unwrap().unwrap();
        assert!(nothing.asked.is_some_and(|asked| asked.is_empty()));
    }

    #[test]
    fn what_is_known_of_an_action_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let action = ibuild_graph::Description::new("packages", 1).key();
        assert_eq!(PackageUsage::find(&store, &action).unwrap(), None);
        let mut fetch = fetched(CacheStatus::Hit);
        fetch.file.as_mut().unwrap().paths = vec!["dists/trixie/InRelease".to_owned()];
        let mut evidence = PackageUsage::of(&store, &[fetch]).unwrap().unwrap();
        evidence.course = Course::of("", "");
        assert!(evidence.course.is_some());
        assert!(evidence.asked.as_ref().is_some_and(|asked| !asked.is_empty()));
        let mut facts = Batch::default();
        PackageUsage::record(Some(evidence.clone()), &mut facts, &action);
        store.index().commit(facts).unwrap();
        assert_eq!(PackageUsage::find(&store, &action).unwrap(), Some(evidence));
        assert_eq!(actions(&store).unwrap(), [action].into());
    }

    /// A regression: the rows of an earlier run stayed, and another state of the archive was compared with the wrong run.
    #[test]
    fn what_is_known_of_an_earlier_run_goes_when_an_action_runs_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let action = ibuild_graph::Description::new("run", 1).key();
        let record = |evidence: Option<PackageUsage>| {
            let mut facts = Batch::default();
            PackageUsage::record(evidence, &mut facts, &action);
            store.index().commit(facts).unwrap();
            PackageUsage::find(&store, &action).unwrap()
        };
        let asked = PackageUsage {
            debs: Vec::new(),
            asked: Some(RequestTrace::default()),
            course: Course::of("", ""),
        };
        let refused = PackageUsage::default();
        for (evidence, known) in
            [(Some(asked.clone()), Some(asked.clone())), (Some(refused.clone()), Some(refused)), (None, None)]
        {
            record(Some(asked.clone()));
            assert_eq!(record(evidence), known);
        }
        assert_eq!(store.index().scan(Table::Packages, &[]).unwrap(), []);
    }
}
