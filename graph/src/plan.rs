//! What a build would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::CacheError;

use crate::worker::{Worker, reason_for};
use crate::{
    BuildError, BuildResult, Change, Comparisons, DirtyReason, Executor, LastRun, RunMemory, StageGraph,
    StageId,
};

/// What would happen to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: what it makes is in the store.
    Fresh,
    /// It would run, whatever the stages before it make.
    Dirty(DirtyReason),
    /// Nothing of its own is new. It would run unless these stages, which run before it, make the same as last time.
    Pending(Vec<StageId>),
}

/// A stage and what would happen to it.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// The stage.
    pub stage: StageId,
    /// What would happen.
    pub verdict: Verdict,
    /// How long it took when it last ran, in milliseconds.
    pub millis: Option<u64>,
    /// Whether it is to be expected to run: not if all stages that it waits for made the same as before the last time
    /// that they changed.
    pub likely: bool,
    /// Whether it failed the last time that it ran.
    pub failed: bool,
    /// What comparisons of its runs have shown, if there were any.
    pub comparisons: Option<Comparisons>,
}

/// What would happen to all stages that the targets need, in build order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<PlannedStage>,
}

impl Plan {
    /// What stages of a kind took when they last ran, on one core, in milliseconds, as far as is known.
    pub fn millis(&self, which: impl Fn(&PlannedStage) -> bool) -> u64 {
        self.stages.iter().filter(|planned| which(planned)).filter_map(|planned| planned.millis).sum()
    }

    /// How many stages are of a kind.
    pub fn count(&self, which: impl Fn(&PlannedStage) -> bool) -> usize {
        self.stages.iter().filter(|planned| which(planned)).count()
    }
}

impl PlannedStage {
    /// Says what differed when it ran several times, if anything did.
    pub fn noise(&self) -> Option<String> {
        self.comparisons.as_ref().and_then(Comparisons::sentence)
    }

    /// What differed when it ran several times; nothing, if it never did.
    pub fn differed(&self) -> Option<&[String]> {
        self.comparisons.as_ref().filter(|known| !known.are_equal()).map(|known| known.names.as_slice())
    }

    /// Whether nothing would happen.
    pub fn is_fresh(&self) -> bool {
        self.verdict == Verdict::Fresh
    }

    /// Whether it would run in any case.
    pub fn is_cause(&self) -> bool {
        matches!(self.verdict, Verdict::Dirty(_))
    }

    /// Whether it depends on what other stages make.
    pub fn is_consequence(&self) -> bool {
        matches!(self.verdict, Verdict::Pending(_))
    }
}

/// Plans a build of `targets`.
pub fn plan<E: Executor>(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    executor: &E,
    targets: &[StageId],
) -> BuildResult<Plan, E> {
    let worker = Worker { graph, memory, executor };
    let mut planner = Planner {
        worker,
        outputs: BTreeMap::new(),
        stand_ins: BTreeMap::new(),
        likely_other: BTreeSet::new(),
    };
    let stages = graph.needed_for(targets).into_iter().map(|stage| planner.stage(stage));
    Ok(Plan { stages: stages.collect::<BuildResult<_, E>>()? })
}

/// Plans stages in build order.
struct Planner<'a, E: Executor> {
    worker: Worker<'a, E>,
    /// Of stages that are fresh.
    outputs: BTreeMap<StageId, E::Output>,
    /// What stands for the outputs of all stages so far, as far as there is anything.
    stand_ins: BTreeMap<StageId, E::Output>,
    /// Stages that run and are to be expected to make something else than before.
    likely_other: BTreeSet<StageId>,
}

impl<E: Executor> Planner<'_, E> {
    fn stage(&mut self, stage: StageId) -> BuildResult<PlannedStage, E> {
        let Worker { graph, memory, executor } = self.worker;
        let (verdict, output) = self.judge(stage, &graph.inputs(stage))?;
        let stand_in = match &output {
            Some(output) => Some(output.clone()),
            None => self.stand_in(stage)?,
        };
        self.stand_ins.extend(stand_in.map(|output| (stage, output)));
        let last = memory.last_run(graph.name(stage))?;
        let likely = match &verdict {
            Verdict::Fresh => false,
            Verdict::Dirty(_) => true,
            Verdict::Pending(inputs) => inputs.iter().any(|input| self.likely_other.contains(input)),
        };
        // Earlier runs are many bytes, and of most stages nobody needs them.
        if likely && !self.made_the_same(&memory.last_runs(graph.name(stage))?)? {
            self.likely_other.insert(stage);
        }
        self.outputs.extend(output.map(|output| (stage, output)));
        let millis = last.map(|last| last.millis);
        let (failed, comparisons) = (executor.has_failed(stage), memory.comparisons(graph.name(stage))?);
        Ok(PlannedStage { stage, verdict, millis, likely, failed, comparisons })
    }

    fn judge(&self, stage: StageId, inputs: &[StageId]) -> BuildResult<(Verdict, Option<E::Output>), E> {
        let unknown: Vec<_> =
            inputs.iter().copied().filter(|input| !self.outputs.contains_key(input)).collect();
        if unknown.is_empty() {
            let outputs: Vec<_> = inputs.iter().filter_map(|input| self.outputs.get(input)).collect();
            return self.judge_upon(stage, &outputs);
        }
        let stand_ins: Option<Vec<_>> = inputs.iter().map(|input| self.stand_ins.get(input)).collect();
        let changes = stand_ins.map_or(Ok(Vec::new()), |inputs| self.own_changes(stage, &inputs))?;
        Ok(match changes.is_empty() {
            true => (Verdict::Pending(unknown), None),
            false => (Verdict::Dirty(DirtyReason::Changed(changes)), None),
        })
    }

    /// A stage whose inputs are known.
    fn judge_upon(
        &self,
        stage: StageId,
        inputs: &[&E::Output],
    ) -> BuildResult<(Verdict, Option<E::Output>), E> {
        let Worker { graph, memory, executor } = self.worker;
        let stage_error = |source| BuildError::Stage { stage: graph.name(stage).clone(), source };
        let description = executor.describe(stage, inputs).map_err(stage_error)?;
        if let Some((output, _)) = self.worker.look_up(stage, &description.key(), inputs)? {
            return Ok((Verdict::Fresh, Some(output)));
        }
        let last = memory.last_run(graph.name(stage))?;
        Ok((Verdict::Dirty(reason_for(executor, stage, &description, last.as_ref())), None))
    }

    /// What stands for the output of a stage that would run, so that those after it can be described: what it made the last
    /// time, or if it never did, what stands for what it stands on.
    fn stand_in(&self, stage: StageId) -> Result<Option<E::Output>, CacheError> {
        let Worker { graph, memory, .. } = self.worker;
        let below = || self.stand_ins.get(graph.inputs(stage).first()?).cloned();
        Ok(memory.last_output(graph.name(stage))?.or_else(below))
    }

    /// What is another of a stage itself than at its last run, whatever its inputs will make.
    fn own_changes(&self, stage: StageId, stand_ins: &[&E::Output]) -> Result<Vec<Change>, CacheError> {
        let Worker { graph, memory, executor } = self.worker;
        let last = memory.last_run(graph.name(stage))?;
        let Some(before) = last.and_then(|last| last.description()) else { return Ok(Vec::new()) };
        // Upon what only stands for its inputs it may not be possible to describe it. Then nothing is known of it yet.
        let Ok(description) = executor.describe(stage, stand_ins) else { return Ok(Vec::new()) };
        // It was like this before, and would be found again if its inputs are as they were.
        if memory.result(&description.key())?.is_some() {
            return Ok(Vec::new());
        }
        let mut changes = executor.changes(&before, &description);
        changes.retain(|change| !executor.is_inherited(change));
        Ok(changes)
    }

    /// Whether a stage's last two actions made the same.
    fn made_the_same(&self, runs: &[LastRun]) -> Result<bool, CacheError> {
        let [last, before, ..] = runs else { return Ok(false) };
        let output = |run: &LastRun| -> Result<Option<E::Output>, CacheError> {
            Ok(self.worker.memory.result(&run.key)?.and_then(|result| result.output()))
        };
        let (last, before) = (output(last)?, output(before)?);
        Ok(last.zip(before).is_some_and(|(last, before)| self.worker.executor.is_same(&before, &last)))
    }
}
