//! What a build would do, without doing it.

use std::collections::BTreeMap;

use ibuild_cache::CacheError;

use crate::engine::reason_for;
use crate::{BuildError, BuildResult, DirtyReason, Executor, RunMemory, StageGraph, StageId};

/// What would happen to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: what it makes is in the store.
    Fresh,
    /// It would run.
    Dirty(DirtyReason),
    /// It would run unless these stages, which run before it, make the same as last time.
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
}

/// What would happen to all stages that the targets need, in build order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<PlannedStage>,
}

impl Plan {
    /// The longest that it would take on one core, in milliseconds, as far as is known.
    pub fn millis(&self) -> u64 {
        let run = self.stages.iter().filter(|planned| planned.verdict != Verdict::Fresh);
        run.filter_map(|planned| planned.millis).sum()
    }

    /// How many stages are not fresh.
    pub fn dirty(&self) -> usize {
        self.stages.iter().filter(|planned| planned.verdict != Verdict::Fresh).count()
    }
}

/// Plans a build of `targets`.
pub fn plan<E: Executor>(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    executor: &E,
    targets: &[StageId],
) -> BuildResult<Plan, E> {
    let mut outputs: BTreeMap<StageId, E::Output> = BTreeMap::new();
    let mut stages = Vec::new();
    for stage in graph.needed_for(targets) {
        let inputs = graph.inputs(stage);
        let unknown: Vec<_> = inputs.iter().copied().filter(|input| !outputs.contains_key(input)).collect();
        let (verdict, output) = if unknown.is_empty() {
            let inputs: Vec<_> = inputs.iter().filter_map(|input| outputs.get(input)).collect();
            judge(graph, memory, executor, stage, &inputs)?
        } else {
            (Verdict::Pending(unknown), None)
        };
        let millis = last_millis(graph, memory, stage)?;
        outputs.extend(output.map(|output| (stage, output)));
        stages.push(PlannedStage { stage, verdict, millis });
    }
    Ok(Plan { stages })
}

fn judge<E: Executor>(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    executor: &E,
    stage: StageId,
    inputs: &[&E::Output],
) -> BuildResult<(Verdict, Option<E::Output>), E> {
    let stage_error = |source| BuildError::Stage { stage: graph.name(stage).clone(), source };
    let description = executor.describe(stage, inputs).map_err(stage_error)?;
    let result = memory.result(&description.key())?;
    if let Some(output) = result.as_ref().and_then(|r| r.output::<E::Output>())
        && executor.is_available(&output).map_err(stage_error)?
    {
        return Ok((Verdict::Fresh, Some(output)));
    }
    let last = memory.last_run(graph.name(stage))?;
    Ok((Verdict::Dirty(reason_for(executor, &description, last.as_ref())), None))
}

fn last_millis(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    stage: StageId,
) -> Result<Option<u64>, CacheError> {
    Ok(memory.last_run(graph.name(stage))?.map(|last| last.millis))
}
