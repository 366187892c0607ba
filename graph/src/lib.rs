//! Decides what must run and why.
//!
//! A [`StageGraph`] says what depends on what. For each stage whose inputs are known an [`Executor`] gives a
//! [`Description`]: everything that can change the result, as data. Its digest is the action key; the same data,
//! compared with the last run's, is the reason why a stage is dirty. The graph does no I/O of its own beyond the
//! index, and knows nothing of file systems.

mod comparisons;
mod describe;
mod engine;
mod explain;
mod history;
mod last_run;
mod memory;
mod panics;
mod pins;
mod plan;
mod recorded;
mod report;
mod stage;
mod value;
mod work;
mod worker;

pub use comparisons::Comparisons;
pub use describe::{ACTION_DOMAIN, Description};
pub use engine::Engine;
pub use explain::{Change, DirtyReason, changes, value_changes};
pub use history::{Build, BuiltStage};
pub use last_run::{LastRun, RunReason};
pub use memory::{ActionResult, FinishedRun, RememberedStage, RunMemory};
pub use pins::Pin;
pub use plan::{Plan, PlannedStage, Verdict, plan};
pub use recorded::{Recorded, RecordedStage, recorded};
pub use report::{
    BuildError, BuildReport, BuildResult, EngineOptions, Event, Observer, OnFailure, Outcome, Report,
    StageReport,
};
pub use stage::{GraphBuilder, GraphError, StageGraph, StageId, StageName};
pub use value::{Value, on_one_line};

use ibuild_cache::{ActionKey, Batch, Record};

/// The rest of the work on what a stage made, which nothing that stands on it has to wait for: makes it durable, and gives
/// the facts that have to be known for it to be found again. They become visible together with the result, in one step:
/// before it nobody needs them, after it nobody finds it without them.
pub type Commit<E> = Box<dyn FnOnce() -> Result<Batch, E> + Send>;

/// What a stage made. Other stages of the same build may stand on it at once; it is remembered when it is committed.
pub struct Made<O, E> {
    /// What was made.
    pub output: O,
    /// What is left to do before it may be remembered.
    pub commit: Commit<E>,
}

impl<O, E> Made<O, E> {
    /// What was made, with nothing left to do.
    pub fn whole(output: O) -> Self {
        Self { output, commit: Box::new(|| Ok(Batch::default())) }
    }
}

/// What came of making a stage.
pub type MadeResult<O, E> = Result<Made<O, E>, E>;

/// An action of another key that makes the same.
pub struct EquivalentAction {
    /// Its key.
    pub key: ActionKey,
    /// In which respect it is the same, for people.
    pub why: &'static str,
    /// The facts that have to be known together with the result, as those of [`Commit`].
    pub facts: Batch,
}

/// What makes stages. Implemented by the real thing, and by fakes in tests.
pub trait Executor: Sync {
    /// What a stage makes, for example a snapshot. Small: it is kept in the index.
    type Output: Record + Clone + PartialEq + Send + Sync;
    /// Why a stage could not be made.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Everything that can change what `stage` makes, given what its inputs made, in the order in which they were
    /// declared.
    fn describe(&self, stage: StageId, inputs: &[&Self::Output]) -> Result<Description, Self::Error>;

    /// What differs between two descriptions of a stage. Overridden where descriptions have trees whose listings only the
    /// executor knows.
    fn changes(&self, old: &Description, new: &Description) -> Vec<Change> {
        changes(old, new)
    }

    /// Whether a change of a description says no more than that an input made something else, while everything of the
    /// stage's own is what it was. In doubt it does.
    fn is_inherited(&self, _change: &Change) -> bool {
        true
    }

    /// Whether a stage failed the last time that it ran.
    fn has_failed(&self, _stage: StageId) -> bool {
        false
    }

    /// Names what differs between two things that one action made, for people. Nothing, if they are equal.
    fn differences(&self, old: &Self::Output, new: &Self::Output) -> Vec<String> {
        if old == new { Vec::new() } else { vec!["what it makes".to_owned()] }
    }

    /// Whether two things are the same to every stage that stands on them.
    fn is_same(&self, old: &Self::Output, new: &Self::Output) -> bool {
        old == new
    }

    /// What a remembered action makes of these inputs. A description covers what an action can see of its inputs; where
    /// an output also has something of them that no action can see, this brings it up to date. Overridden where outputs
    /// have such things.
    fn rebase(&self, _stage: StageId, remembered: Self::Output, _inputs: &[&Self::Output]) -> Self::Output {
        remembered
    }

    /// Whether what was made is still there. What it was made of is.
    fn is_available(
        &self,
        stage: StageId,
        output: &Self::Output,
        inputs: &[&Self::Output],
    ) -> Result<bool, Self::Error>;

    /// Finds, among earlier runs of a stage, one that made what this action would make, though something differs that its
    /// key covers. Asked when the stage would run otherwise; overridden where that can be found out with less work than
    /// running it. What is found is believed, so in doubt there is none.
    fn find_equivalent(
        &self,
        _stage: StageId,
        _description: &Description,
        _earlier: &[LastRun],
        _inputs: &[&Self::Output],
    ) -> Result<Option<EquivalentAction>, Self::Error> {
        Ok(None)
    }

    /// Whether a stage reads what the commits of its inputs, and of theirs, write. It is run when they are done.
    fn needs_commits(&self, _stage: StageId) -> bool {
        false
    }

    /// Makes the stage. What inputs made may not be committed yet.
    fn run(&self, stage: StageId, inputs: &[&Self::Output]) -> MadeResult<Self::Output, Self::Error>;

    /// Makes the action of `description`, which [`Executor::describe`] gave for this stage and these inputs. Overridden where
    /// something else than the inputs can have changed since: what is made is remembered under this description.
    fn run_described(
        &self,
        stage: StageId,
        _description: &Description,
        inputs: &[&Self::Output],
    ) -> MadeResult<Self::Output, Self::Error> {
        self.run(stage, inputs)
    }

    /// Whether a stage could not be made only because something that its description covers is another by now. It is
    /// described and decided about once more.
    fn is_outdated(&self, _stage: StageId, _error: &Self::Error) -> bool {
        false
    }

    /// Whether a stage could not be made only because the build was asked to stop.
    fn is_interrupt(&self, _error: &Self::Error) -> bool {
        false
    }

    /// Whether a stage could not be made only because what one of its inputs made turned out to be damaged or gone. By
    /// then [`Executor::is_available`] has to say so of that output: the input is made again, then the stage.
    fn lacks_input(&self, _error: &Self::Error) -> bool {
        false
    }

    /// Takes the lock that keeps other processes from making the same action at the same time. It is held until
    /// the returned value is dropped.
    fn lock(&self, stage: StageId, key: &ActionKey) -> Result<Box<dyn Send>, Self::Error>;
}
