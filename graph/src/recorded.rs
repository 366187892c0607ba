//! What the store has of stages, as a caller needs it who wants to make them once more or to compare them.

use std::collections::BTreeMap;

use crate::worker::Worker;
use crate::{BuildError, BuildResult, Description, Executor, RunMemory, StageGraph, StageId};

/// A stage whose result is in the store.
#[derive(Debug, Clone)]
pub struct RecordedStage<O> {
    /// The stage.
    pub stage: StageId,
    /// What the result is the result of.
    pub description: Description,
    /// The outputs of its inputs, in the order in which they are declared.
    pub inputs: Vec<O>,
    /// What it made.
    pub output: O,
    /// How long that took, in milliseconds.
    pub millis: u64,
}

impl<O> RecordedStage<O> {
    /// The outputs of its inputs, as an executor takes them.
    pub fn inputs(&self) -> Vec<&O> {
        self.inputs.iter().collect()
    }
}

/// The stages that targets need.
#[derive(Debug, Clone)]
pub struct Recorded<O> {
    /// Those whose results are in the store, in build order.
    pub stages: Vec<RecordedStage<O>>,
    /// The others: a build would run them, or run something that they need.
    pub missing: Vec<StageId>,
}

/// Looks the stages up that `targets` need, as a build would, and runs none.
///
/// # Errors
///
/// If a stage cannot be described, or if the store refuses.
pub fn recorded<E: Executor>(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    executor: &E,
    targets: &[StageId],
) -> BuildResult<Recorded<E::Output>, E> {
    let worker = Worker { graph, memory, executor };
    let mut outputs = BTreeMap::new();
    let mut found = Recorded { stages: Vec::new(), missing: Vec::new() };
    for stage in graph.needed_for(targets) {
        let inputs: Option<Vec<E::Output>> =
            graph.inputs(stage).iter().map(|input| outputs.get(input).cloned()).collect();
        let known = inputs.map(|inputs| look_up(worker, stage, inputs)).transpose()?.flatten();
        match known {
            Some(known) => {
                outputs.insert(stage, known.output.clone());
                found.stages.push(known);
            }
            None => found.missing.push(stage),
        }
    }
    Ok(found)
}

fn look_up<E: Executor>(
    worker: Worker<'_, E>,
    stage: StageId,
    inputs: Vec<E::Output>,
) -> BuildResult<Option<RecordedStage<E::Output>>, E> {
    let given: Vec<_> = inputs.iter().collect();
    let described = worker.executor.describe(stage, &given);
    let error = |source| BuildError::Stage { stage: worker.graph.name(stage).clone(), source };
    let description = described.map_err(error)?;
    let found = worker.look_up(stage, &description.key(), &given)?;
    Ok(found.map(|(output, millis)| RecordedStage { stage, description, inputs, output, millis }))
}
