//! The work on one stage: describes it, looks its action up, runs it, commits what it made. Nothing here knows of other stages.

use std::time::{Duration, Instant};

use ibuild_cache::ActionKey;
use tracing::{debug, info};

use crate::panics::contained;
use crate::{
    BuildError, BuildResult, Commit, Description, DirtyReason, EquivalentAction, Executor, FinishedRun,
    LastRun, Made, RunMemory, RunReason, StageGraph, StageId,
};

/// What an action made, and how long that took, in milliseconds.
type Found<E> = Option<(<E as Executor>::Output, u64)>;

/// A stage that has to run.
pub(crate) struct Job<O> {
    pub(crate) stage: StageId,
    pub(crate) description: Description,
    pub(crate) inputs: Vec<O>,
    pub(crate) reason: DirtyReason,
}

/// What a look at a stage found.
pub(crate) enum Judged<O> {
    /// Its result.
    Found {
        output: O,
        millis: u64,
        /// Whether its action is the one that is remembered as its last.
        is_last: bool,
    },
    /// Nothing, and why.
    Missing(DirtyReason),
}

/// Whether a stage runs even if its result is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    Yes,
    No,
}

/// What a stage made, not remembered yet.
pub(crate) struct PendingCommit<O, E> {
    pub(crate) stage: StageId,
    pub(crate) output: O,
    pub(crate) reason: DirtyReason,
    description: Description,
    commit: Commit<E>,
    /// What differs from what the same action had made before, if it had.
    compared: Option<Vec<String>>,
    millis: u64,
    /// Held until the result is recorded: other processes that want the same wait for it.
    _lock: Box<dyn Send>,
}

/// How a worker came by a stage's output.
pub(crate) enum Completion<O, E> {
    /// Another process made it in the meantime, or another action had made the same.
    Found(O),
    /// By running the stage.
    Ran {
        /// Whether that is what its last run had made.
        same_output: bool,
        /// What differs from what the same action had made before.
        nondeterministic: Vec<String>,
        /// What it made.
        made: PendingCommit<O, E>,
    },
}

/// What workers and the committer tell the coordinator: exactly one message for each stage that a thread was given.
pub(crate) enum Message<O, E: std::error::Error + 'static> {
    /// A worker is done.
    Done { stage: StageId, result: Result<Completion<O, E>, BuildError<E>>, elapsed: Duration },
    /// The committer is done.
    Committed { stage: StageId, result: Result<(), BuildError<E>> },
}

/// Works on stages, each by itself.
pub(crate) struct Worker<'a, E: Executor> {
    pub(crate) graph: &'a StageGraph,
    pub(crate) memory: &'a RunMemory<'a>,
    pub(crate) executor: &'a E,
}

impl<E: Executor> Clone for Worker<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Executor> Copy for Worker<'_, E> {}

impl<E: Executor> Worker<'_, E> {
    /// Describes a stage and looks for its result.
    pub(crate) fn judge(
        &self,
        stage: StageId,
        inputs: &[E::Output],
        forced: Forced,
    ) -> BuildResult<(Description, Judged<E::Output>), E> {
        self.contained(stage, || {
            let inputs: Vec<_> = inputs.iter().collect();
            let described = self.executor.describe(stage, &inputs);
            let description = described.map_err(|source| self.stage_error(stage, source))?;
            let judged = self.judge_described(stage, &description, &inputs, forced)?;
            Ok((description, judged))
        })
    }

    fn judge_described(
        &self,
        stage: StageId,
        description: &Description,
        inputs: &[&E::Output],
        forced: Forced,
    ) -> BuildResult<Judged<E::Output>, E> {
        let (name, key) = (self.graph.name(stage), description.key());
        let found = match forced {
            Forced::Yes => None,
            Forced::No => self.look_up(stage, &key, inputs)?,
        };
        let last = self.memory.last_run(name)?;
        if let Some((output, millis)) = found {
            info!(stage = %name, key = %key.short(), saved_ms = millis, "hit");
            return Ok(Judged::Found { output, millis, is_last: last.is_some_and(|last| last.key == key) });
        }
        let reason = match forced {
            Forced::Yes => DirtyReason::Forced,
            Forced::No => reason_for(self.executor, stage, description, last.as_ref()),
        };
        info!(stage = %name, key = %key.short(), %reason, "miss");
        Ok(Judged::Missing(reason))
    }

    /// Makes a stage.
    pub(crate) fn run(&self, job: Job<E::Output>) -> Message<E::Output, E::Error> {
        let (start, stage) = (Instant::now(), job.stage);
        let result = self.contained(stage, || self.complete(job));
        Message::Done { stage, result, elapsed: start.elapsed() }
    }

    fn complete(&self, job: Job<E::Output>) -> BuildResult<Completion<E::Output, E::Error>, E> {
        let key = job.description.key();
        let lock = self.executor.lock(job.stage, &key).map_err(|e| self.stage_error(job.stage, e))?;
        self.memory.refresh();
        if job.reason != DirtyReason::Forced {
            let given: Vec<_> = job.inputs.iter().collect();
            if let Some((output, _)) = self.look_up(job.stage, &key, &given)? {
                return Ok(Completion::Found(output));
            }
            if let Some(output) = self.find_equivalent(&job)? {
                return Ok(Completion::Found(output));
            }
        }
        self.run_locked(job, lock)
    }

    fn run_locked(
        &self,
        job: Job<E::Output>,
        lock: Box<dyn Send>,
    ) -> BuildResult<Completion<E::Output, E::Error>, E> {
        let Job { stage, description, inputs, reason } = job;
        let before = self.memory.last_output::<E::Output>(self.graph.name(stage))?;
        let made_before = self.memory.result(&description.key())?.and_then(|result| result.output());
        let start = Instant::now();
        let given: Vec<_> = inputs.iter().collect();
        let Made { output, commit } = self
            .executor
            .run_described(stage, &description, &given)
            .map_err(|source| self.stage_error(stage, source))?;
        let millis = start.elapsed().as_millis() as u64;
        let same_output = before.is_some_and(|before| self.executor.is_same(&before, &output));
        let compared = made_before.map(|old| self.executor.differences(&old, &output));
        let nondeterministic = compared.clone().unwrap_or_default();
        debug!(stage = %self.graph.name(stage), millis, same_output, "ran");
        let made =
            PendingCommit { stage, description, output, commit, reason, compared, millis, _lock: lock };
        Ok(Completion::Ran { same_output, nondeterministic, made })
    }

    /// Finds the output of an equivalent action, and records it under this key.
    fn find_equivalent(&self, job: &Job<E::Output>) -> BuildResult<Option<E::Output>, E> {
        let Job { stage, description, inputs, reason } = job;
        let (name, given) = (self.graph.name(*stage), inputs.iter().collect::<Vec<_>>());
        let earlier = self.memory.last_runs(name)?;
        let found = self.executor.find_equivalent(*stage, description, &earlier, &given);
        let Some(EquivalentAction { key, why, facts }) =
            found.map_err(|source| self.stage_error(*stage, source))?
        else {
            return Ok(None);
        };
        let Some((output, millis)) = self.look_up(*stage, &key, &given)? else { return Ok(None) };
        info!(stage = %name, key = %key.short(), why, "an earlier run made the same");
        let reason = RunReason { dirty: reason.clone(), equivalent: Some(why.to_owned()) };
        let run = FinishedRun { description, facts, reason, millis };
        self.memory.remember_run(name, run, &output)?;
        Ok(Some(output))
    }

    /// Makes durable what a stage made, and remembers it.
    pub(crate) fn commit(&self, made: PendingCommit<E::Output, E::Error>) -> Message<E::Output, E::Error> {
        let stage = made.stage;
        let result = self.contained(stage, || {
            let facts = (made.commit)().map_err(|source| self.stage_error(stage, source))?;
            let (name, reason) = (self.graph.name(stage), made.reason.clone().into());
            debug!(stage = %name, key = %made.description.key().short(), "is durable, and remembered from here on");
            let run = FinishedRun { description: &made.description, facts, reason, millis: made.millis };
            self.memory.remember_run(name, run, &made.output)?;
            if let Some(differing) = &made.compared {
                self.memory.remember_comparison(name, made.description.key(), differing)?;
            }
            Ok(())
        });
        Message::Committed { stage, result }
    }

    /// The output of an action upon these inputs, if it is remembered and all of it is still available.
    pub(crate) fn look_up(
        &self,
        stage: StageId,
        key: &ActionKey,
        inputs: &[&E::Output],
    ) -> BuildResult<Found<E>, E> {
        let Some(result) = self.memory.result(key)? else { return Ok(None) };
        let Some(remembered) = result.output::<E::Output>() else { return Ok(None) };
        let output = self.executor.rebase(stage, remembered, inputs);
        let in_store = self.executor.is_available(stage, &output, inputs);
        let in_store = in_store.map_err(|source| self.stage_error(stage, source))?;
        if !in_store {
            let name = self.graph.name(stage);
            debug!(stage = %name, key = %key.short(), "is remembered, but not all of it is in the store");
        }
        Ok(in_store.then_some((output, result.millis)))
    }

    fn stage_error(&self, stage: StageId, source: E::Error) -> BuildError<E::Error> {
        BuildError::Stage { stage: self.graph.name(stage).clone(), source }
    }

    /// Works on a stage; a panic is an error like any other.
    fn contained<T>(&self, stage: StageId, work: impl FnOnce() -> BuildResult<T, E>) -> BuildResult<T, E> {
        contained(work)
            .unwrap_or_else(|text| Err(BuildError::Panicked { stage: self.graph.name(stage).clone(), text }))
    }
}

/// Why the action of `description` is not the stage's last one. Asked only when there is no result to be had.
/// Changes of the stage itself come before those that follow from what its inputs made: they are what somebody edited.
pub(crate) fn reason_for<E: Executor>(
    executor: &E,
    stage: StageId,
    description: &Description,
    last: Option<&LastRun>,
) -> DirtyReason {
    if last.is_some_and(|last| last.key == description.key()) {
        return DirtyReason::OutputMissing;
    }
    match last.and_then(LastRun::description) {
        Some(before) => {
            let mut changes = executor.changes(&before, description);
            changes.sort_by_key(|change| executor.is_inherited(change));
            DirtyReason::Changed(changes)
        }
        None if executor.has_failed(stage) => DirtyReason::Failed,
        None => DirtyReason::NeverBuilt,
    }
}
