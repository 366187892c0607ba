//! What one asks of a build, and what it tells: while it runs and at its end. No more than data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ibuild_cache::CacheError;

use crate::{DirtyReason, Executor, StageId, StageName};

/// What to do when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Start nothing more; what runs already comes to its end.
    Stop,
    /// Go on with what does not need it, unless it failed by a panic.
    KeepGoing,
}

/// How to build.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How many stages may run at a time, at least one.
    pub jobs: usize,
    /// What to do when a stage fails.
    pub on_failure: OnFailure,
    /// Stages that run whether or not their result is there.
    pub forced: BTreeSet<StageId>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { jobs: 1, on_failure: OnFailure::Stop, forced: BTreeSet::new() }
    }
}

/// Why a build did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError<E: std::error::Error + 'static> {
    /// A stage could not be made.
    #[error("stage `{stage}` failed")]
    Stage {
        /// Which one.
        stage: StageName,
        /// Why.
        #[source]
        source: E,
    },
    /// The code that works on a stage is wrong: it panicked.
    #[error("a panic ended the work on stage `{stage}`: {text}")]
    Panicked {
        /// Which one.
        stage: StageName,
        /// What the panic said.
        text: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] CacheError),
}

impl<E: std::error::Error + 'static> BuildError<E> {
    /// Whether the code is wrong, and neither a stage nor the store.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked { .. })
    }
}

/// What comes of building with an executor.
pub type BuildResult<T, E> = Result<T, BuildError<<E as Executor>::Error>>;

/// What a build with an executor did.
pub type BuildReport<E> = Report<<E as Executor>::Output, BuildError<<E as Executor>::Error>>;

/// What happened to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its result was in the store.
    Hit,
    /// It ran.
    Ran {
        /// Why.
        reason: DirtyReason,
        /// Whether it made the same as its last run: then nothing after it had to run on its account.
        same_output: bool,
        /// What differs from what the very same action had made before. Nothing, if all is well.
        nondeterministic: Vec<String>,
    },
    /// It could not be made.
    Failed,
    /// It was not made, because the build was asked to stop.
    Interrupted,
    /// It was not tried, because a stage that it needs failed.
    Skipped,
}

/// A stage and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The stage.
    pub stage: StageId,
    /// What happened.
    pub outcome: Outcome,
    /// The time that it took in this build.
    pub elapsed: Duration,
}

/// What a build did and what came of it.
#[derive(Debug)]
pub struct Report<O, E> {
    /// In the order in which the stages ended.
    pub stages: Vec<StageReport>,
    /// What each stage that succeeded made.
    pub outputs: BTreeMap<StageId, O>,
    /// The stages that failed.
    pub failures: Vec<(StageId, E)>,
}

impl<O, E: std::error::Error + 'static> Report<O, BuildError<E>> {
    /// Whether a panic ended the work on one of the stages: what it left may be partial.
    pub fn has_panicked(&self) -> bool {
        self.failures.iter().any(|(_, error)| error.is_panic())
    }
}

impl<O, E> Report<O, E> {
    /// How many stages ran.
    pub fn ran(&self) -> usize {
        self.stages.iter().filter(|s| matches!(s.outcome, Outcome::Ran { .. })).count()
    }

    /// How many results were in the store.
    pub fn cached(&self) -> usize {
        self.stages.iter().filter(|s| s.outcome == Outcome::Hit).count()
    }
}

/// Told while it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A stage starts to run.
    Started {
        /// Which one.
        stage: StageId,
        /// Why.
        reason: &'a DirtyReason,
    },
    /// A stage came to its end: others may stand on what it made. Told a second time, as a failure, of a stage that ran
    /// but could not be committed.
    Finished {
        /// The stage and what happened to it.
        report: &'a StageReport,
        /// What went wrong with one that failed or was interrupted.
        error: Option<&'a (dyn std::error::Error + 'static)>,
    },
    /// What a stage made is remembered, and durable: whatever happens now, it need not run again.
    Committed {
        /// Which one.
        stage: StageId,
    },
    /// A stage could not be made because what an input made is damaged; that is made again, then the stage.
    Again {
        /// Which one.
        stage: StageId,
        /// How many stages that were settled are looked at once more.
        stages: usize,
    },
}

/// Listens to a build.
pub trait Observer: Sync {
    /// Something happened. Called from the coordinator only, in order.
    fn event(&self, event: Event<'_>);
}
