//! The lookup of an action among the results of earlier runs.

use ibuild_cache::ActionKey;
use tracing::debug;

use crate::{BuildError, BuildResult, Executor, RunMemory, StageGraph, StageId};

/// What an action made, and how long that took, in milliseconds.
pub(crate) type Found<E> = Option<(<E as Executor>::Output, u64)>;

/// What an action makes of these inputs, if it is remembered and all of it still there.
pub(crate) fn lookup<E: Executor>(
    graph: &StageGraph,
    memory: &RunMemory<'_>,
    executor: &E,
    stage: StageId,
    key: &ActionKey,
    inputs: &[&E::Output],
) -> BuildResult<Found<E>, E> {
    let Some(result) = memory.result(key)? else { return Ok(None) };
    let Some(remembered) = result.output::<E::Output>() else { return Ok(None) };
    let output = executor.rebase(stage, remembered, inputs);
    let stage_error = |source| BuildError::Stage { stage: graph.name(stage).clone(), source };
    let in_store = executor.is_available(&output, inputs).map_err(stage_error)?;
    if !in_store {
        debug!(stage = %graph.name(stage), key = %key.short(), "is remembered, but not all of it is in the store");
    }
    Ok(in_store.then_some((output, result.millis)))
}
