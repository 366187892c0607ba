//! `ibuild build`: makes targets.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use ibuild::graph::{BuildError, OnFailure};
use ibuild::stages::{Access, StageError, Tracing, Unlocked};
use ibuild::{BuildRequest, Error, ExecutionOptions, Result, Workspace};

use super::shell;
use crate::cli::{BuildArgs, Global};
use crate::failure::in_a_line;
use crate::interrupt;
use crate::invocation;
use crate::terminal::{harmless, note, tell};
use crate::ui::{Mode, Ui};

pub fn run(global: &Global, args: &BuildArgs) -> Result<ExitCode> {
    let workspace = invocation::open_with(global, &args.targets.vars, &args.secrets)?;
    if let Some(profile) = &workspace.recipe.profile {
        note(global, &format!("profile  `{profile}`"));
    }
    if args.nice {
        be_nice()?;
    }
    let request = BuildRequest {
        targets: args.targets.all(),
        until: args.until.clone(),
        from: args.from.clone(),
        output: args.output.clone(),
        jobs: args.jobs,
        on_failure: if args.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop },
        execution: ExecutionOptions {
            access: if args.offline { Access::Offline } else { Access::Online },
            unlocked: if args.locked { Unlocked::Refuse } else { Unlocked::Record },
            tracing: if args.debug { Tracing::On } else { Tracing::Off },
            cancel: interrupt::cancel_in_time()?,
        },
    };
    let ui = Ui::new(mode(global, args), global, &workspace.project().graph);
    match workspace.build(&request, Arc::new(ui)) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            if args.shell_on_failure && !interrupt::is_asked() {
                open_shell(&workspace, &error);
            }
            Err(error)
        }
    }
}

fn mode(global: &Global, args: &BuildArgs) -> Mode {
    match (args.json, global.quiet) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Quiet,
        (false, false) => Mode::Normal,
    }
}

/// Opens a shell in what the stage had made that failed, if one did.
fn open_shell(workspace: &Workspace, error: &Error) {
    let Some(BuildError::<StageError>::Stage { stage, source }) = error.find() else { return };
    if source.transcript().is_none() {
        return;
    }
    if std::io::stdin().is_terminal() {
        tell!("error: {}", harmless(&in_a_line(error)));
        let _ = shell::into_failure(workspace, stage.as_str(), &[]);
    } else {
        tell!("note    `--shell-on-failure` needs a terminal");
    }
}

/// Lets everybody else go first, with cores and with disks. Stages inherit it.
fn be_nice() -> Result<()> {
    const IDLE_CLASS: libc::c_int = 3 << 13;
    // SAFETY: two system calls without pointers.
    let done = unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10) == 0
            && libc::syscall(libc::SYS_ioprio_set, 1, 0, IDLE_CLASS) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
