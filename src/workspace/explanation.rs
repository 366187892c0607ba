//! Why stages ran, or would run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ibuild_graph::{LastRun, Plan, StageId};
use ibuild_stages::{FailedState, PastBuild, StageObserver};

use super::Workspace;
use crate::error::Result;

/// A stage that was asked about, and its past.
pub struct StageHistory {
    /// The stage.
    pub stage: StageId,
    /// Its last run.
    pub last: Option<LastRun>,
    /// What it left when it failed, if it has not succeeded since.
    pub failed: Option<FailedState>,
    /// The last build that needed it.
    pub build: Option<PastBuild>,
}

/// What would run, and why, with the past of the stages that were asked about.
pub struct Explanation {
    /// What would run of these stages and of all that they need.
    pub plan: Plan,
    /// The stages that were asked about.
    pub histories: Vec<StageHistory>,
    /// The files of the project that stages leave out, by the stages' names.
    pub ignored: BTreeMap<String, Vec<String>>,
}

impl Workspace {
    /// Explains why stages would run, and why they ran.
    ///
    /// # Errors
    ///
    /// As [`Workspace::plan`].
    pub fn explain(&self, stages: &[StageId]) -> Result<Explanation> {
        let (project, ignored) = (self.project(), Arc::new(IgnoredFiles::default()));
        let executor = self.planning_executor(&project, ignored.clone())?;
        let plan = self.plan_with(&executor, stages)?;
        let mut histories = Vec::new();
        for stage in stages {
            let name = project.graph.name(*stage);
            histories.push(StageHistory {
                stage: *stage,
                last: self.memory().last_run(name)?,
                failed: executor.context().failed_state(name.as_str()),
                build: PastBuild::find(&self.store, executor.context(), name, 0)?,
            });
        }
        let ignored = ignored.0.lock().expect("no panic while held").clone();
        Ok(Explanation { plan, histories, ignored })
    }

    /// The build so many builds before the last one that needed each of these stages. Builds in which nothing ran are not
    /// counted.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn past_builds(&self, stages: &[StageId], back: usize) -> Result<Vec<(StageId, Option<PastBuild>)>> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let find = |stage: &StageId| {
            let build = PastBuild::find(&self.store, executor.context(), project.graph.name(*stage), back)?;
            Ok((*stage, build))
        };
        stages.iter().map(find).collect()
    }
}

/// What is left out by each stage that leaves something out.
#[derive(Default)]
struct IgnoredFiles(Mutex<BTreeMap<String, Vec<String>>>);

impl StageObserver for IgnoredFiles {
    fn ignored(&self, stage: &str, files: &[String]) {
        let mut known = self.0.lock().expect("no panic while held");
        known.entry(stage.to_owned()).or_default().extend_from_slice(files);
    }
}
