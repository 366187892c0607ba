//! A look inside: a throw-away copy of what a stage made, or of what it had made when it failed. Whoever looks is in the place of the
//! stage: with its program, inputs, secrets, environment, machine, limits and network.

use ibuild_spec::RUN_DIR;

use crate::StageError;
use crate::executor::context::StageContext;
use crate::executor::environment::environment;
use crate::executor::failed_state::FailedState;
use crate::executor::machine::machine_of;
use crate::executor::stage_run::{StageCommand, StageRun, lower_names, machine_limits};
use crate::recipe::{Step, StepPath};
use crate::sandbox::{
    Ended, NetworkSpec, Payload, RunPolicy, SandboxError, SandboxView, Shown, ShownContent, Stdio,
    VisibleMachine,
};
use crate::snapshot::Snapshot;
use crate::steps::{ProgramView, program_view};

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
    /// Nothing ran, there was no room to keep what it had made, or that has a secret.
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
                Some(format!("`ibuild log {stage}` has what it said; build it again once its cause is gone"))
            }
            Self::Stage(_) | Self::Sandbox(_) => None,
        }
    }
}

/// Somebody who looks around in the place of a step.
#[derive(Debug, Clone, Copy)]
pub struct ShellRequest<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The step, if the recipe has it.
    pub step: Option<(&'a StepPath, &'a Step)>,
    /// What to run; without words the image's best shell.
    pub argv: &'a [String],
    /// What the terminal is called.
    pub terminal: Option<&'a str>,
}

/// Below `/run/ibuild`: what an interactive shell reads first. No script of a directory has a hidden name.
const SETTINGS: &str = ".shell";

impl StageContext<'_> {
    /// Runs something on a terminal in a throw-away copy of a snapshot, in the place of a step. Nothing of what it does is kept.
    pub fn shell(&self, snapshot: &Snapshot, request: &ShellRequest<'_>) -> Result<Ended, ShellError> {
        self.shell_over(lower_names(self, snapshot)?, request, "")
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
        request: &ShellRequest<'_>,
    ) -> Result<Ended, ShellError> {
        self.shell_over(failed.lowers(self.store())?, request, " (failed)")
    }

    fn shell_over(
        &self,
        lowers: Vec<String>,
        request: &ShellRequest<'_>,
        state: &str,
    ) -> Result<Ended, ShellError> {
        let run = StageRun::over_directories(self, lowers)?;
        let seen = request.step.map(|(name, step)| program_view(self, name, step)).transpose()?.flatten();
        let (mut view, archives, program) = match seen {
            Some(ProgramView { view, archives }) => {
                let Payload::Exec { argv } = &view.payload else { unreachable!("a program is run") };
                let program = argv.clone();
                (view, archives, Some(program))
            }
            None => (self.plain_view(request)?, Vec::new(), None),
        };
        view.env.extend(request.terminal.map(|terminal| ("TERM".to_owned(), terminal.to_owned())));
        let argv = if request.argv.is_empty() {
            shell_argv(&mut view, request.stage, state, program)
        } else {
            request.argv.to_vec()
        };
        view.payload = Payload::Exec { argv };
        let limits = machine_limits(&request.step.map(|(_, step)| step.limits).unwrap_or_default());
        let command = StageCommand {
            stage: request.stage,
            program: "",
            view: &view,
            epoch: self.epoch(),
            archives: &archives,
            from: None,
            base_packages: &[],
            policy: RunPolicy { timeout: None, limits, stdio: Stdio::Terminal },
            guard: None,
        };
        Ok(run.in_sandbox(self, &command, None)?.ended?)
    }

    /// For a step that runs no program of the recipe, and for one that the recipe does not have any more.
    fn plain_view(&self, request: &ShellRequest<'_>) -> Result<SandboxView, StageError> {
        let step = request.step.map(|(_, step)| step);
        Ok(SandboxView {
            machine: step.map_or_else(VisibleMachine::canonical, |step| machine_of(step, self.epoch())),
            shown: Vec::new(),
            secrets: step.map_or_else(|| Ok(Vec::new()), |step| self.secrets_of(step))?,
            inject: Vec::new(),
            epoch: self.epoch(),
            network: NetworkSpec::Isolated,
            env: environment(self.epoch(), &step.map(|step| step.env.clone()).unwrap_or_default()),
            payload: Payload::Exec { argv: Vec::new() },
        })
    }
}

/// What a shell reads first: a prompt that says where one is, and how to run the step again.
fn settings(stage: &str, state: &str, program: Option<Vec<String>>) -> String {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    let rerun = program.map(|argv| argv.iter().map(quoted).collect::<Vec<_>>().join(" "));
    let rerun = rerun.map_or_else(String::new, |argv| format!("rerun() {{ {argv}; }}\n"));
    format!("PS1='ibuild:{stage}{state} $PWD # '\n{rerun}")
}

/// The image's best shell, with these settings.
fn shell_argv(view: &mut SandboxView, stage: &str, state: &str, program: Option<Vec<String>>) -> Vec<String> {
    let content = ShownContent::Data(settings(stage, state, program).into_bytes());
    view.shown.push(Shown { path: SETTINGS.into(), content });
    let settings = format!("{RUN_DIR}/{SETTINGS}");
    view.env.insert("ENV".to_owned(), settings.clone());
    let choose =
        format!("if [ -x /bin/bash ]; then exec /bin/bash --rcfile {settings}; else exec /bin/sh -i; fi");
    ["/bin/sh", "-c", &choose].map(str::to_owned).to_vec()
}
