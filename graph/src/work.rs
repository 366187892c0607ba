//! The state of each stage of a build, and the one place that changes it.

use std::collections::BTreeMap;

use crate::worker::Job;
use crate::{StageGraph, StageId};

/// The state of a stage.
pub(crate) enum State<O> {
    /// One of its inputs is not settled, or the stage has not been evaluated since they are.
    Waiting,
    /// It has to run.
    Ready(Job<O>),
    /// A worker runs it.
    Running,
    /// It ran, and its commit is pending. Other stages may use its output.
    Made,
    /// It ran, one of its inputs turned out to be damaged since, and its commit is pending. Then it waits again: before the
    /// commit it would not be found, and wait for the lock that goes with the commit.
    Superseded,
    /// It ran, and its result is durable.
    Committed,
    /// Its result was in the store.
    Hit,
    /// It was not tried.
    Skipped,
    /// It could not be made or not be committed, or was interrupted.
    Failed,
}

impl<O> State<O> {
    /// Whether it no longer blocks stages that use it.
    fn is_settled(&self) -> bool {
        matches!(self, Self::Made | Self::Committed | Self::Hit | Self::Skipped | Self::Failed)
    }

    fn is_commit_pending(&self) -> bool {
        matches!(self, Self::Made | Self::Superseded)
    }

    fn may_become(&self, next: &Self) -> bool {
        use State::{Committed, Failed, Hit, Made, Ready, Running, Skipped, Superseded, Waiting};
        match self {
            Waiting => matches!(next, Ready(_) | Hit | Skipped | Failed),
            Ready(_) => matches!(next, Running | Skipped),
            Running => matches!(next, Made | Hit | Failed | Waiting),
            Made => matches!(next, Committed | Failed | Superseded),
            Superseded => matches!(next, Waiting | Failed),
            Committed | Hit | Skipped | Failed => matches!(next, Waiting),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready(_) => "ready",
            Self::Running => "running",
            Self::Made => "made",
            Self::Superseded => "superseded",
            Self::Committed => "committed",
            Self::Hit => "hit",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// Whether what a stage's inputs made, and theirs, is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commits {
    /// All of it.
    Done,
    /// Some of it will be, or is made again.
    Pending,
    /// Some of it never will be.
    Failed,
}

/// The stages of a build.
pub(crate) struct Work<O> {
    /// In build order.
    stages: Vec<(StageId, State<O>)>,
    places: BTreeMap<StageId, usize>,
    /// Those that are ready, in the order in which they became so.
    ready: Vec<StageId>,
}

impl<O> Work<O> {
    /// All of these stages wait.
    pub(crate) fn new(stages: Vec<StageId>) -> Self {
        let places = stages.iter().enumerate().map(|(place, stage)| (*stage, place)).collect();
        Self {
            stages: stages.into_iter().map(|stage| (stage, State::Waiting)).collect(),
            places,
            ready: Vec::new(),
        }
    }

    /// The state of a stage of the build.
    pub(crate) fn state(&self, stage: StageId) -> &State<O> {
        &self.stages[self.places[&stage]].1
    }

    /// Changes the state of a stage, and gives its former one.
    ///
    /// # Panics
    ///
    /// If the transition is not allowed.
    pub(crate) fn change(&mut self, stage: StageId, next: State<O>) -> State<O> {
        let state = &mut self.stages[self.places[&stage]].1;
        assert!(state.may_become(&next), "a stage that is {} cannot be {}", state.word(), next.word());
        self.ready.retain(|ready| *ready != stage);
        self.ready.extend(matches!(next, State::Ready(_)).then_some(stage));
        std::mem::replace(state, next)
    }

    /// The waiting stages, in build order.
    pub(crate) fn waiting(&self) -> Vec<StageId> {
        self.stages_where(|state| matches!(state, State::Waiting)).collect()
    }

    /// The stages that have to run, in the order in which that was found.
    pub(crate) fn ready(&self) -> Vec<StageId> {
        self.ready.clone()
    }

    /// How many stages run.
    pub(crate) fn running(&self) -> usize {
        self.stages_where(|state| matches!(state, State::Running)).count()
    }

    /// Whether a worker or the committer has something to do.
    pub(crate) fn is_under_way(&self) -> bool {
        self.stages_where(|state| matches!(state, State::Running) || state.is_commit_pending())
            .next()
            .is_some()
    }

    /// Whether this stage no longer blocks those that use it.
    pub(crate) fn is_settled(&self, stage: StageId) -> bool {
        self.state(stage).is_settled()
    }

    /// Whether what `stage` was made from is durable.
    pub(crate) fn commits_below(&self, graph: &StageGraph, stage: StageId) -> Commits {
        let needed = graph.needed_for(&[stage]);
        let below = || needed.iter().filter(|below| **below != stage).map(|below| self.state(*below));
        if below().any(|state| matches!(state, State::Failed | State::Skipped)) {
            Commits::Failed
        } else if below().any(|state| state.is_commit_pending() || !state.is_settled()) {
            Commits::Pending
        } else {
            Commits::Done
        }
    }

    fn stages_where(&self, is_it: impl Fn(&State<O>) -> bool) -> impl Iterator<Item = StageId> {
        self.stages.iter().filter(move |(_, state)| is_it(state)).map(|(stage, _)| *stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, StageName};

    fn chain() -> (StageGraph, Vec<StageId>) {
        let mut builder = GraphBuilder::default();
        let stages: Vec<_> =
            ["a", "b", "c"].iter().map(|name| builder.stage(StageName::new(*name)).unwrap()).collect();
        stages.windows(2).for_each(|pair| builder.input(pair[1], pair[0]));
        (builder.finish().unwrap(), stages)
    }

    #[test]
    fn what_is_below_has_to_be_durable() {
        let (graph, stages) = chain();
        let mut work = Work::<()>::new(stages.clone());
        work.change(stages[0], State::Hit);
        work.change(stages[1], State::Hit);
        assert_eq!(work.commits_below(&graph, stages[2]), Commits::Done);
        work.change(stages[0], State::Waiting);
        assert_eq!(work.commits_below(&graph, stages[2]), Commits::Pending, "it is made again");
        work.change(stages[0], State::Failed);
        assert_eq!(work.commits_below(&graph, stages[2]), Commits::Failed);
        assert_eq!(work.waiting(), [stages[2]]);
        assert!(!work.is_under_way());
    }

    #[test]
    #[should_panic(expected = "a stage that is waiting cannot be committed")]
    fn states_follow_each_other() {
        let (_, stages) = chain();
        Work::<()>::new(stages.clone()).change(stages[0], State::Committed);
    }
}
