//! A look at what stages made: their snapshots, and shells in throw-away copies of them.

use ibuild_graph::StageName;
use ibuild_stages::recipe::{RootfsName, Step, StepPath};
use ibuild_stages::sandbox::Ended;
use ibuild_stages::snapshot::Snapshot;
use ibuild_stages::{FailedState, Job, Project, ShellError, ShellRequest, StageOutput, packed_snapshots};

use super::Workspace;
use super::past::builds_back;
use crate::error::{Result, UsageError};

/// A program on the terminal of this process, in a throw-away copy of a root file system.
#[derive(Debug, Clone, Default)]
pub struct ShellCommand {
    /// The program and its arguments; the image's best shell, if there are none.
    pub argv: Vec<String>,
    /// What the terminal is called, for `TERM`.
    pub terminal: Option<String>,
}

impl ShellCommand {
    fn look<'a>(&'a self, stage: &'a str, step: Option<(&'a StepPath, &'a Step)>) -> ShellRequest<'a> {
        ShellRequest { stage, step, argv: &self.argv, terminal: self.terminal.as_deref() }
    }
}

impl Workspace {
    /// The root file system that a name means: what a stage made the last time, or what the last file of a target was made of; with
    /// `@N` appended what it was N builds before the last one.
    /// Its files are read with [`Inside`](ibuild_stages::Inside).
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if there is no such stage, if it was never built, or for a target with several
    /// machines.
    pub fn inspect(&self, name: &str) -> Result<Snapshot> {
        if let (name, Some(back)) = builds_back(name) {
            return self.inspect_back(name, back);
        }
        let project = self.project();
        match project.job(self.find_stage(name)?) {
            Job::Step { name, .. } => self.snapshot_of_step(name),
            Job::Image { target, machines, .. } => {
                if let [_, _, ..] = machines.as_slice() {
                    let names: Vec<_> =
                        machines.iter().map(|it| format!("`{}.{}`", it.name, target.format)).collect();
                    let error = UsageError::new(format!("`{target}` has several machines"));
                    return Err(error.hint(format!("name one of them: {}", names.join(", "))).into());
                }
                let run = self.memory().last_run(&StageName::new(target.to_string()))?;
                let never = || {
                    UsageError::new(format!("`{target}` was never built"))
                        .hint(format!("`ibuild build --target {target}` builds it"))
                };
                let description = run.and_then(|run| run.description()).ok_or_else(never)?;
                match packed_snapshots(&description).into_iter().flatten().next() {
                    Some(snapshot) if !snapshot.layers.is_empty() => Ok(snapshot),
                    // The description of a tarball has only its tree, not its layers.
                    packed => self.last_of(&project, &machines[0].rootfs, packed.as_ref()),
                }
            }
        }
    }

    fn snapshot_of_step(&self, name: &StepPath) -> Result<Snapshot> {
        let output = self.last_output(name)?;
        Ok(output.snapshot().expect("a step makes a snapshot").clone())
    }

    fn last_of(
        &self,
        project: &Project<'_>,
        rootfs: &RootfsName,
        packed: Option<&Snapshot>,
    ) -> Result<Snapshot> {
        let last = project.recipe.last_stage(rootfs).expect("a checked recipe's rootfs has a last stage");
        let snapshot = self.snapshot_of_step(&last.name)?;
        if packed.is_some_and(|packed| packed.tree == snapshot.tree) {
            return Ok(snapshot);
        }
        let error = UsageError::new(format!("`{}` was built again since, with another output", last.name));
        Err(error.hint(format!("name the stage itself: `{}`", last.name)).into())
    }

    /// What a stage made the last time.
    fn last_output(&self, name: &StepPath) -> Result<StageOutput> {
        let memory = self.memory();
        let last = memory.last_run(&StageName::new(name.to_string()))?;
        let result = last.map(|last| memory.result(&last.key)).transpose()?.flatten();
        Ok(result.and_then(|result| result.output()).ok_or_else(|| self.never_built(name))?)
    }

    fn never_built(&self, name: &StepPath) -> UsageError {
        let error = UsageError::new(format!("`{name}` was never built"));
        let project = self.recipe.project.name.as_str();
        error.hint(match FailedState::find(&self.store, project, &name.to_string()) {
            Some(failed) if failed.is_kept() => {
                format!("it failed: `ibuild shell --failed {name}` opens a shell in what it had made")
            }
            Some(_) => format!("it failed: `ibuild log {name}` says why"),
            None => format!("`ibuild build --until {name}` builds it"),
        })
    }

    /// Runs a program on the terminal in a throw-away copy of what a stage made, in the environment of that stage.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if there is no such step, or if it was never built.
    pub fn shell(&self, name: &str, command: &ShellCommand) -> Result<Ended> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let Job::Step { name: step_name, step } = project.job(self.find_stage(name)?) else {
            return Err(not_a_step(name).into());
        };
        let snapshot = self.snapshot_of_step(step_name)?;
        let stage = step_name.to_string();
        let request = command.look(&stage, Some((step_name, *step)));
        Ok(executor.context().shell(&snapshot, &request)?)
    }

    /// What a stage left when it failed, if it has not succeeded since and there was room to keep it.
    ///
    /// # Errors
    ///
    /// If there is no such stage, no failure of it is known, or what it had made is not kept.
    pub fn failure(&self, name: &str) -> Result<FailedStage> {
        let project = self.project();
        let stage = project.graph.name(self.find_stage(name)?).to_string();
        let state = FailedState::find(&self.store, self.recipe.project.name.as_str(), &stage);
        let state = state.ok_or_else(|| ShellError::NotFailed(stage.clone()))?;
        if !state.is_kept() {
            let why = state.why().unwrap_or("the disk got full").to_owned();
            return Err(ShellError::NotKept { stage, why }.into());
        }
        Ok(FailedStage { stage, state })
    }

    /// As [`Workspace::shell`], in what a stage had made when it failed.
    ///
    /// # Errors
    ///
    /// If there is no sandbox.
    pub fn shell_into(&self, failure: &FailedStage, command: &ShellCommand) -> Result<Ended> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let name = failure.stage.parse::<StepPath>().ok();
        let step = name.as_ref().and_then(|name| Some((name, project.recipe.step(name)?)));
        let request = command.look(&failure.stage, step);
        Ok(executor.context().shell_into_failure(&failure.state, &request)?)
    }
}

/// A failure of a stage.
pub struct FailedStage {
    /// The stage's name.
    pub stage: String,
    /// What it left.
    pub state: FailedState,
}

fn not_a_step(name: &str) -> UsageError {
    UsageError::new(format!("`{name}` is a target, and a shell needs a stage"))
        .hint("name a stage: `rootfs/step`, or `rootfs` for its last step")
}
