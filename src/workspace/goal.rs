//! What a build is to make.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ibuild_graph::{OnFailure, StageGraph, StageId};
use ibuild_stages::{Project, Target};

use super::names::requested_targets;
use super::{ExecutionOptions, Workspace};
use crate::error::{Result, UsageError};

/// What is to be built, and how.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Targets, as `hello.ova`, or images, which mean their listed formats. None mean all images.
    pub targets: Vec<String>,
    /// A stage to build, and nothing after it.
    pub until: Option<String>,
    /// A stage that runs with all that need it, whether or not their results are there.
    pub from: Option<String>,
    /// Where targets go; `out` beside the recipe, by default.
    pub output: Option<PathBuf>,
    /// How many stages run at a time; the default is the setting `jobs`, else the number of cores.
    pub jobs: Option<NonZeroUsize>,
    /// What to do when a stage fails.
    pub on_failure: OnFailure,
    /// How stages are executed.
    pub execution: ExecutionOptions,
}

impl BuildRequest {
    /// A build of these targets.
    pub fn of(targets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            targets: targets.into_iter().map(Into::into).collect(),
            until: None,
            from: None,
            output: None,
            jobs: None,
            on_failure: OnFailure::Stop,
            execution: ExecutionOptions::default(),
        }
    }
}

/// What a request asks of a project.
pub(super) struct Goal {
    pub(super) targets: Vec<Target>,
    pub(super) stages: Vec<StageId>,
    pub(super) forced: BTreeSet<StageId>,
}

impl Goal {
    pub(super) fn of(workspace: &Workspace, project: &Project<'_>, request: &BuildRequest) -> Result<Self> {
        let (targets, stages) = match &request.until {
            None => {
                let targets = requested_targets(project, &request.targets)?;
                let stages = stages_of(project, &targets);
                (targets, stages)
            }
            Some(until) => {
                let until = workspace.find_stage(until)?;
                if !request.targets.is_empty() {
                    let targets = requested_targets(project, &request.targets)?;
                    refuse_unneeded(project, "--until", until, &stages_of(project, &targets))?;
                }
                (Vec::new(), vec![until])
            }
        };
        let forced = match &request.from {
            Some(from) => {
                let from = workspace.find_stage(from)?;
                refuse_unneeded(project, "--from", from, &stages)?;
                downstream(&project.graph, from, &stages)
            }
            None => BTreeSet::new(),
        };
        Ok(Self { targets, stages, forced })
    }
}

fn stages_of(project: &Project<'_>, targets: &[Target]) -> Vec<StageId> {
    targets.iter().filter_map(|target| project.target_stage(target)).collect()
}

/// Refuses an option whose stage is not needed by any requested target.
fn refuse_unneeded(
    project: &Project<'_>,
    option: &str,
    stage: StageId,
    wanted: &[StageId],
) -> Result<(), UsageError> {
    const SHOWN: usize = 12;
    let needed = project.graph.needed_for(wanted);
    if needed.contains(&stage) {
        return Ok(());
    }
    let names = |stages: &[StageId]| {
        let names: Vec<_> = stages.iter().map(|stage| format!("`{}`", project.graph.name(*stage))).collect();
        names.join(", ")
    };
    let (first, verb) =
        (&needed[..needed.len().min(SHOWN)], if wanted.len() == 1 { "needs" } else { "need" });
    let more = if needed.len() > SHOWN { ", ..." } else { "" };
    let message = format!(
        "`{option}` names `{}`, which is not needed for {}",
        project.graph.name(stage),
        names(wanted)
    );
    Err(UsageError::new(message).hint(format!("{} {verb} {}{more}", names(wanted), names(first))))
}

/// A stage and all that need it, as far as the targets need them.
fn downstream(graph: &StageGraph, from: StageId, targets: &[StageId]) -> BTreeSet<StageId> {
    let mut found = BTreeSet::from([from]);
    for stage in graph.needed_for(targets) {
        if graph.inputs(stage).iter().any(|input| found.contains(input)) {
            found.insert(stage);
        }
    }
    found
}
