//! `ibuild watch`: builds again whenever a file of the project is saved.
//!
//! Each round is a build of its own, in a process of its own, so a new edit ends it as Ctrl-C would: at once, and with all that it
//! had made in the store.

mod changes;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use ibuild::stages::debian::Timestamp;
use ibuild::stages::sandbox::Cancel;
use ibuild::{Context, LOCK_FILE, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use self::changes::Changes;
use super::itself::{add_secrets, add_targets, itself};
use crate::cli::{Global, WatchArgs};
use crate::status::Status;
use crate::terminal::{is_interactive, print, tell};
use crate::ui::seconds;
use crate::{interrupt, invocation};

/// An editor writes several files for one save.
const SETTLE: Duration = Duration::from_millis(150);

/// How often a running build is looked at.
const GLANCE: Duration = Duration::from_millis(50);

pub fn run(global: &Global, args: &WatchArgs) -> Result<ExitCode> {
    let cancel = interrupt::cancel_on_signals()?;
    let project = invocation::project_dir()?;
    // A mistake in the recipe is told by the first round, and mended in the next one. Names of targets are not.
    if let Ok(workspace) = invocation::open_with(global, &args.targets.vars, &args.secrets) {
        workspace.plan(&args.targets.all())?;
    }
    let output = ibuild::output_dir(&project, args.output.as_deref());
    let mut changes = Changes::below(&project, &output)?;
    loop {
        while round(global, args, &mut changes, &cancel)? == Round::Overtaken {}
        if cancel.is_cancelled() {
            return Ok(ExitCode::from(Status::Interrupted as u8));
        }
        tell!("watch   waits for changes in `{}`", project.display());
        while !changes.wait(GLANCE, SETTLE)? {
            if cancel.is_cancelled() {
                return Ok(ExitCode::from(Status::Interrupted as u8));
            }
        }
    }
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The build came to its end, or nobody wants it any more.
    Done,
    /// There was another edit meanwhile.
    Overtaken,
}

/// Builds until that is done, or has been overtaken by edits.
fn round(global: &Global, args: &WatchArgs, changes: &mut Changes, cancel: &Cancel) -> Result<Round> {
    let mut build = start(global, args)?;
    let said = build.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        BufReader::new(said).lines().map_while(Result::ok).for_each(|line| tell_built(&line))
    });
    let mut restarted = false;
    let status = loop {
        if let Some(status) = build.try_wait().context("cannot wait for a build")? {
            break status;
        }
        // What the build itself writes is no edit.
        if !restarted && (changes.wait_besides(GLANCE, SETTLE, LOCK_FILE)? || cancel.is_cancelled()) {
            restarted = true;
            if !cancel.is_cancelled() {
                tell!("watch   changes: begins anew");
            }
            interrupt_build(&build)?;
        }
        if restarted {
            std::thread::sleep(GLANCE);
        }
    };
    let _ = reader.join();
    changes.forget(LOCK_FILE)?;
    if restarted && !cancel.is_cancelled() {
        return Ok(Round::Overtaken);
    }
    if !status.success() && !restarted && is_interactive() {
        tell!("\u{7}watch   failed");
    }
    Ok(Round::Done)
}

fn interrupt_build(build: &Child) -> Result<()> {
    let pid = i32::try_from(build.id()).expect("the kernel's numbers of processes are small");
    match kill(Pid::from_raw(pid), Signal::SIGINT) {
        // It has just ended.
        Err(nix::errno::Errno::ESRCH) => Ok(()),
        sent => Ok(sent?),
    }
}

/// A build that prints its events; what it has to say to people goes where ours goes.
fn start(global: &Global, args: &WatchArgs) -> Result<Child> {
    let mut command = itself(global)?;
    command.args(["build", "--json"]);
    add_targets(&mut command, &args.targets);
    add_secrets(&mut command, &args.secrets);
    if args.offline {
        command.arg("--offline");
    }
    if let Some(dir) = &args.output {
        command.arg("--output").arg(dir);
    }
    // In a group of its own, so that a signal comes to it once: from here.
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
    child.context("cannot start a build")
}

/// A line for each target that is in its place.
fn tell_built(line: &str) {
    let Ok(said) = serde_json::from_str::<Value>(line) else { return };
    if said["event"] != "built" {
        return;
    }
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| said[field].as_u64().unwrap_or_default();
    let took = Duration::from_secs_f64(said["seconds"].as_f64().unwrap_or_default().max(0.0));
    let (ran, cached) = (number("run"), number("cached"));
    let line = format!(
        "{}  built {}  {ran} run, {cached} cached  {}\n",
        Timestamp(now),
        text("target"),
        seconds(took)
    );
    // A reader that has gone away has seen what it wanted.
    let _ = print(&line);
}
