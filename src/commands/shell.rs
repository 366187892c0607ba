//! `ibuild shell`: a throw-away copy of what a stage made, or of what it had made when it failed.

use std::process::ExitCode;

use ibuild::stages::debian::Timestamp;
use ibuild::stages::sandbox::Ended;
use ibuild::stages::{Logs, tail};
use ibuild::{Result, ShellCommand, Workspace};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::cli::{Global, ShellArgs};
use crate::invocation;
use crate::terminal::{harmless, tell};

/// Lines of the log that are shown again.
const TAIL: usize = 20;

pub fn run(global: &Global, args: &ShellArgs) -> Result<ExitCode> {
    let workspace = invocation::open_with(global, &[], &args.secrets)?;
    let _shared = invocation::share_store(global, &workspace)?;
    if args.failed {
        return into_failure(&workspace, &args.stage, &args.command).map(exit_code);
    }
    leave_signals_to_the_shell()?;
    workspace.shell(&args.stage, &command(&args.command)).map(exit_code)
}

/// The status of what ran there, as a shell has it.
fn exit_code(ended: Ended) -> ExitCode {
    ExitCode::from(ended.end.in_shell())
}

/// Opens a shell in what a stage had made when it failed.
pub fn into_failure(workspace: &Workspace, stage: &str, argv: &[String]) -> Result<Ended> {
    let failure = workspace.failure(stage)?;
    let time = Timestamp(failure.state.time());
    let stage = &failure.stage;
    if argv.is_empty() {
        let logs = Logs::new(workspace.store.layout(), workspace.recipe.project.name.as_str());
        tail(&logs.path(stage), TAIL).iter().for_each(|line| tell!("  | {line}"));
        if let Some(why) = failure.state.why() {
            tell!("failed  {stage}  {}", harmless(why));
        }
    }
    tell!("note    this is what `{stage}` had made when it failed at {time}");
    if argv.is_empty() {
        tell!("note    `rerun` runs it again; nothing of what you do here is kept");
    }
    leave_signals_to_the_shell()?;
    workspace.shell_into(&failure, &command(argv))
}

fn command(argv: &[String]) -> ShellCommand {
    ShellCommand { argv: argv.to_vec(), terminal: std::env::var("TERM").ok() }
}

/// Ctrl-C is for what runs in the shell, not for us.
fn leave_signals_to_the_shell() -> Result<()> {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
    Ok(())
}
