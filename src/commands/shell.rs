//! `ibuild shell`: a throw-away copy of what a stage made, or of what it had made when it failed.

use std::process::ExitCode;

use anyhow::Result;
use ibuild::graph::RunMemory;
use ibuild::stages::debian::Timestamp;
use ibuild::stages::recipe::{StageName, Step};
use ibuild::stages::sandbox::Ended;
use ibuild::stages::{FailedState, Job, Project, ShellError, StageExecutor, StageOutput};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::cli::{Global, ShellArgs};
use crate::failure::UsageError;
use crate::session::{Session, find_stage};
use crate::terminal::tell;

pub fn run(global: &Global, args: &ShellArgs) -> Result<ExitCode> {
    let session = Session::open(global, &[])?;
    let project = Project::new(&session.recipe);
    let executor = session.quiet_executor(&project)?;
    let _shared = session.share_store(global)?;
    let stage = find_stage(&project, &args.stage)?;
    let name = project.graph.name(stage).to_string();
    if args.failed {
        return into_failure(&project, &executor, &name, &args.command).map(exit_code);
    }
    let Job::Step { name, step } = project.job(stage) else { return Err(not_a_step(&args.stage).into()) };
    let output = last_output(&session.memory(), name)?;
    let snapshot = output.snapshot().ok_or_else(|| never_built(name))?;
    leave_signals_to_the_shell()?;
    Ok(exit_code(executor.context().shell(snapshot, step, command_line(&args.command), terminal())?))
}

/// The status of what ran there, as a shell has it.
fn exit_code(ended: Ended) -> ExitCode {
    ExitCode::from(ended.end.in_shell())
}

fn not_a_step(name: &str) -> UsageError {
    UsageError::new(format!("`{name}` is no root file system"))
        .hint("name a stage: `rootfs/step`, or `rootfs` for its last step")
}

fn never_built(name: &StageName) -> UsageError {
    UsageError::new(format!("`{name}` was never built"))
        .hint(format!("`ibuild build --until {name}` builds it"))
}

/// What a stage made the last time.
pub fn last_output(memory: &RunMemory<'_>, name: &StageName) -> Result<StageOutput> {
    let last = memory.last_run(&ibuild::graph::StageName::new(name.to_string()))?;
    let result = last.map(|last| memory.result(&last.key)).transpose()?.flatten();
    Ok(result.and_then(|result| result.output()).ok_or_else(|| never_built(name))?)
}

/// Opens a shell in what a stage had made when it failed.
pub fn into_failure(
    project: &Project<'_>,
    executor: &StageExecutor<'_>,
    stage: &str,
    command: &[String],
) -> Result<Ended> {
    let failed =
        executor.context().failed_state(stage).ok_or_else(|| ShellError::NotFailed(stage.to_owned()))?;
    if !failed.is_kept() {
        let why = failed.why().unwrap_or("the disk got full").to_owned();
        return Err(ShellError::NotKept { stage: stage.to_owned(), why }.into());
    }
    let step = stage.parse::<StageName>().ok().and_then(|name| project.recipe.step(&name));
    tell!("note    this is what `{stage}` had made when it failed at {}", Timestamp(failed.time()));
    leave_signals_to_the_shell()?;
    Ok(enter_failure(executor, &failed, step, command)?)
}

fn enter_failure(
    executor: &StageExecutor<'_>,
    failed: &FailedState,
    step: Option<&Step>,
    command: &[String],
) -> Result<Ended, ShellError> {
    executor.context().shell_into_failure(failed, step, command_line(command), terminal())
}

/// The image's best shell, or what the user wants.
fn command_line(command: &[String]) -> Vec<String> {
    if command.is_empty() {
        let choose = "if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi";
        return ["/bin/sh", "-c", choose].map(str::to_owned).to_vec();
    }
    command.to_vec()
}

fn terminal() -> Option<String> {
    std::env::var("TERM").ok()
}

/// Ctrl-C is for what runs in the shell, not for us.
fn leave_signals_to_the_shell() -> Result<()> {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
    Ok(())
}
