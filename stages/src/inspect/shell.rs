//! A look inside: a throw-away copy of what a stage made, or of what it had made when it failed.

use std::fs;

use crate::StageError;
use crate::executor::context::StageContext;
use crate::executor::environment::environment;
use crate::executor::failed_state::FailedState;
use crate::executor::machine::machine_of;
use crate::executor::stage_run::{lower_names, machine_limits};
use crate::recipe::Step;
use crate::sandbox::{
    Ended, Machine, NetworkSpec, Payload, Place, RunPolicy, SandboxError, SandboxView, Spec, Stdio,
};
use crate::snapshot::Snapshot;

/// Why there is no look inside.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The state could not be prepared.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The sandbox could not be made.
    #[error("cannot open a shell")]
    Sandbox(#[from] SandboxError),
    /// There is no failure to look into.
    #[error("no failure of `{0}` is known")]
    NotFailed(String),
    /// There was no room to keep what it had made.
    #[error("what `{stage}` had made when it failed is not kept: {why}")]
    NotKept {
        /// The stage.
        stage: String,
        /// How it failed, in a line.
        why: String,
    },
}

impl ShellError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFailed(stage) => {
                Some(format!("`ibuild explain {stage}` tells what is known of its last run"))
            }
            Self::NotKept { stage, .. } => {
                Some(format!("`ibuild log {stage}` has what it said; make room, and build it again"))
            }
            Self::Stage(_) | Self::Sandbox(_) => None,
        }
    }
}

impl StageContext<'_> {
    /// Runs `argv` on a terminal in a throw-away copy of a snapshot, in the environment of `step`. Nothing of what it
    /// does is kept.
    pub fn shell(
        &self,
        snapshot: &Snapshot,
        step: &Step,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        let lowers = lower_names(self, snapshot)?;
        self.shell_over(lowers, Some(step), argv, terminal)
    }

    /// What a stage of the project had made when it failed, if it failed the last time it ran.
    pub fn failed_state(&self, stage: &str) -> Option<FailedState> {
        FailedState::find(self.store(), self.project_name(), stage)
    }

    /// Forgets the failures of stages that were found in the store: what they are now did not fail.
    pub fn forget_failures<'n>(&self, found: impl IntoIterator<Item = &'n str>) -> Result<(), StageError> {
        // Most builds have none to forget, and each look costs less than asking for every stage.
        let dir = self.store().layout().failed().join(self.project_name());
        if !dir.exists() {
            return Ok(());
        }
        found.into_iter().try_for_each(|stage| FailedState::forget(self.store(), self.project_name(), stage))
    }

    /// The same over what the stage had made when it failed.
    pub fn shell_into_failure(
        &self,
        failed: &FailedState,
        step: Option<&Step>,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        self.shell_over(failed.lowers(self.store())?, step, argv, terminal)
    }

    fn shell_over(
        &self,
        lowers: Vec<String>,
        step: Option<&Step>,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        let run = self.store().run_dir().map_err(StageError::from)?;
        let upper = run.path().join("upper");
        fs::create_dir(&upper).map_err(StageError::io("create", &upper))?;
        let mut env = environment(self.epoch(), &step.map(|step| step.env.clone()).unwrap_or_default());
        env.extend(terminal.map(|terminal| ("TERM".to_owned(), terminal)));
        let view = SandboxView {
            machine: step.map_or_else(Machine::canonical, |step| machine_of(step, self.epoch())),
            shown: Vec::new(),
            secrets: step.map_or_else(|| Ok(Vec::new()), |step| self.secrets_of(step))?,
            inject: Vec::new(),
            epoch: self.epoch(),
            network: NetworkSpec::Isolated,
            env,
            payload: Payload::Exec { argv },
        };
        let place = Place {
            layers_dir: self.store().layout().layers(),
            lowers,
            run_dir: run.path().to_owned(),
            from: Vec::new(),
            sources: Vec::new(),
            authority: None,
        };
        let limits = machine_limits(&step.map(|step| step.limits).unwrap_or_default());
        let policy = RunPolicy { timeout: None, limits, stdio: Stdio::Terminal };
        let spec = Spec::new(&view, place, policy);
        Ok(self.supervisor().run(&spec, None, |_| Ok(()))?)
    }
}
