//! What is remembered from one build to the next.

use ibuild_cache::{ActionKey, Batch, CacheError, Record, Store, Table, whole_bytes};
use serde::{Deserialize, Serialize};

use crate::last_run::FirstSchema;
use crate::{Build, Description, LastRun, RunReason, StageName};

/// What an action made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The executor's own value, as a record.
    #[serde(with = "whole_bytes")]
    output: Vec<u8>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

impl Record for ActionResult {
    const SCHEMA: u16 = 1;
}

impl ActionResult {
    /// What an action made in so many milliseconds.
    pub fn new(output: &impl Record, millis: u64) -> Self {
        Self { output: output.to_bytes(), millis }
    }

    /// The executor's own value; `None` if another version wrote it.
    pub fn output<O: Record>(&self) -> Option<O> {
        O::from_bytes(&self.output)
    }
}

/// So many runs of a stage before the last are kept.
const EARLIER: usize = 7;

/// Runs before the last one, the latest first.
#[derive(Default, Serialize, Deserialize)]
struct EarlierRuns(Vec<LastRun>);

impl Record for EarlierRuns {
    const SCHEMA: u16 = 2;

    fn from_earlier(bytes: &[u8]) -> Option<Self> {
        Some(Self(FirstSchema::earlier_runs(bytes)?))
    }
}

/// A stage of some project, and its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedStage {
    /// The project's name.
    pub project: String,
    /// The stage's name.
    pub stage: StageName,
    /// Its last run.
    pub last: LastRun,
}

impl RememberedStage {
    /// Everything that a store remembers of stages, sorted by project and name.
    pub fn all(store: &Store) -> Result<Vec<Self>, CacheError> {
        let rows = store.index().scan(Table::Stages, &[])?;
        let mut stages: Vec<_> = rows.iter().filter_map(|(key, value)| Self::read(key, value)).collect();
        stages.sort_by(|a, b| (&a.project, &a.stage).cmp(&(&b.project, &b.stage)));
        Ok(stages)
    }

    /// A row that another version wrote is a miss.
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (project, stage) = std::str::from_utf8(key).ok()?.split_once('\0')?;
        let last = LastRun::from_bytes(value)?;
        Some(Self { project: project.to_owned(), stage: StageName::new(stage), last })
    }
}

impl ActionResult {
    /// The result of every action that a store knows.
    pub fn all(store: &Store) -> Result<Vec<(ActionKey, Self)>, CacheError> {
        let rows = store.index().scan(Table::Actions, &[])?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let key = <[u8; 32]>::try_from(key.as_slice()).ok()?;
            Some((ActionKey::from_bytes(key), Self::from_bytes(value)?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

/// A run that has ended, as it is remembered.
pub struct FinishedRun<'a> {
    /// What was described.
    pub description: &'a Description,
    /// What has to be known together with the result.
    pub facts: Batch,
    /// Why it ran.
    pub reason: RunReason,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// The action cache and the stages' last runs, in a store's index. Stages are remembered by project, because two
/// projects may both have a `base/bootstrap`.
pub struct RunMemory<'s> {
    store: &'s Store,
    project: String,
}

impl<'s> RunMemory<'s> {
    /// What `store` remembers of `project`.
    pub fn new(store: &'s Store, project: &str) -> Self {
        Self { store, project: project.to_owned() }
    }

    pub(crate) fn store(&self) -> &'s Store {
        self.store
    }

    pub(crate) fn stage_key(&self, stage: &StageName) -> Vec<u8> {
        [self.project.as_bytes(), &[0], stage.as_str().as_bytes()].concat()
    }

    /// What an action made, if it was ever run.
    pub fn result(&self, key: &ActionKey) -> Result<Option<ActionResult>, CacheError> {
        self.store.index().record(Table::Actions, key.as_bytes())
    }

    /// A stage's last run.
    pub fn last_run(&self, stage: &StageName) -> Result<Option<LastRun>, CacheError> {
        self.store.index().record(Table::Stages, &self.stage_key(stage))
    }

    /// What a stage made at its last run, whether or not that is still there.
    pub fn last_output<O: Record>(&self, stage: &StageName) -> Result<Option<O>, CacheError> {
        let Some(last) = self.last_run(stage)? else { return Ok(None) };
        Ok(self.result(&last.key)?.and_then(|result| result.output()))
    }

    /// A stage's last runs, the latest first. Runs and hits of one action that come one after the other are two only if
    /// it ran twice.
    pub fn last_runs(&self, stage: &StageName) -> Result<Vec<LastRun>, CacheError> {
        let mut runs: Vec<_> = self.last_run(stage)?.into_iter().collect();
        let earlier: Option<EarlierRuns> = self.store.index().record(Table::Runs, &self.stage_key(stage))?;
        runs.extend(earlier.unwrap_or_default().0);
        Ok(runs)
    }

    /// Adds to a batch that this is the stage's last run now, and what was the last one is an earlier one.
    fn put_last_run(&self, stage: &StageName, last: &LastRun, batch: &mut Batch) -> Result<(), CacheError> {
        let mut earlier = self.last_runs(stage)?;
        earlier.truncate(EARLIER);
        if !earlier.is_empty() {
            batch.put_record(Table::Runs, &self.stage_key(stage), &EarlierRuns(earlier));
        }
        batch.put_record(Table::Stages, &self.stage_key(stage), last);
        Ok(())
    }

    /// Adds to a batch that a stage's last runs are forgotten, but not what they made.
    pub fn forget_last_run(&self, stage: &StageName, batch: &mut Batch) {
        batch.delete(Table::Stages, &self.stage_key(stage));
        batch.delete(Table::Runs, &self.stage_key(stage));
        batch.delete(Table::Comparisons, &self.stage_key(stage));
    }

    /// Adds to a batch that a stage's last run and what that made are forgotten.
    pub fn forget(&self, stage: &StageName, last: &LastRun, batch: &mut Batch) {
        batch.delete(Table::Actions, last.key.as_bytes());
        self.forget_last_run(stage, batch);
    }

    /// Sees what other processes remembered in the meantime.
    pub fn refresh(&self) {
        self.store.index().refresh();
    }

    /// Remembers what an action made with the facts that belong to it, and that it was this stage's last run, at once.
    pub fn remember_run(
        &self,
        stage: &StageName,
        run: FinishedRun<'_>,
        output: &impl Record,
    ) -> Result<(), CacheError> {
        let FinishedRun { description, facts, reason, millis } = run;
        let key = description.key();
        let mut batch = facts;
        batch.put_record(Table::Actions, key.as_bytes(), &ActionResult::new(output, millis));
        // First the file: if it is never needed, it was no more than a waste; without it an index could not be made again.
        self.store.results().write(&key, &batch)?;
        let last = LastRun::new(description, Some(reason), millis, now());
        self.put_last_run(stage, &last, &mut batch)?;
        self.store.index().commit(batch)
    }

    /// Remembers that stages were hits, so that the next change is explained against what is there now, and what was
    /// built, if all of it could be.
    pub(crate) fn remember_end(
        &self,
        hits: &[(StageName, Description, u64)],
        build: Option<Build>,
    ) -> Result<(), CacheError> {
        let mut batch = Batch::default();
        for (stage, description, millis) in hits {
            let last = LastRun::new(description, None, *millis, now());
            self.put_last_run(stage, &last, &mut batch)?;
        }
        match build {
            Some(build) => {
                Build { project: self.project.clone(), time: now(), ..build }.remember(self.store, batch)
            }
            None => self.store.index().commit(batch),
        }
    }
}

pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;
    use crate::{Change, DirtyReason};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Made(u8);

    impl Record for Made {
        const SCHEMA: u16 = 1;
    }

    fn remember(store: &Store, project: &str, stage: &str) {
        let (stage, mut description) = (StageName::new(stage), Description::new("run", 1));
        description.set("command", format!("{project} {stage}"));
        let memory = RunMemory::new(store, project);
        memory
            .remember_run(
                &stage,
                FinishedRun {
                    description: &description,
                    facts: Batch::default(),
                    reason: DirtyReason::NeverBuilt.into(),
                    millis: 5,
                },
                &Made(7),
            )
            .unwrap();
    }

    fn names(store: &Store) -> Vec<String> {
        let all = RememberedStage::all(store).unwrap();
        all.iter().map(|r| format!("{} {}", r.project, r.stage)).collect()
    }

    #[test]
    fn earlier_runs_are_kept_but_not_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let (memory, stage) = (RunMemory::new(&store, "lab"), StageName::new("x/1"));
        for number in 0..20 {
            let mut description = Description::new("run", 1);
            description.set("command", number);
            let reason =
                DirtyReason::Changed(vec![Change { path: vec![number.to_string()], old: None, new: None }]);
            let reason = RunReason::from(reason);
            memory
                .remember_run(
                    &stage,
                    FinishedRun { description: &description, facts: Batch::default(), reason, millis: 5 },
                    &Made(7),
                )
                .unwrap();
        }
        let runs = memory.last_runs(&stage).unwrap();
        let reasons: Vec<_> = runs.iter().filter_map(|run| run.reason.as_ref()?.changes().first()).collect();
        let numbers: Vec<_> = reasons.iter().map(|change| change.path[0].as_str()).collect();
        assert_eq!(numbers, ["19", "18", "17", "16", "15", "14", "13", "12"]);
        let mut batch = Batch::default();
        memory.forget_last_run(&stage, &mut batch);
        store.index().commit(batch).unwrap();
        assert_eq!(memory.last_runs(&stage).unwrap(), []);
    }

    #[test]
    fn stages_of_all_projects_are_found_and_forgotten_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        for (project, stage) in [("b", "x/1"), ("a", "x/2"), ("a", "x.ova")] {
            remember(&store, project, stage);
        }
        assert_eq!(names(&store), ["a x.ova", "a x/2", "b x/1"]);
        let (memory, stage) = (RunMemory::new(&store, "a"), StageName::new("x/2"));
        let last = memory.last_run(&stage).unwrap().unwrap();
        let mut batch = Batch::default();
        memory.forget(&stage, &last, &mut batch);
        store.index().commit(batch).unwrap();
        assert_eq!(names(&store), ["a x.ova", "b x/1"]);
        assert_eq!(ActionResult::all(&store).unwrap().len(), 2);
        assert_eq!(memory.result(&last.key).unwrap(), None);
    }
}
