//! `ibuild verify`: runs stages once more and tells which are not reproducible, in which files, and why.

mod against;
mod html;
mod json;
mod junit;
mod page;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use ibuild::cache::ActionKey;
use ibuild::graph::StageId;
use ibuild::stages::{Access, Project, StageVerdict};
use ibuild::{
    CheckFailed, Context, Error, ExecutionOptions, Result, Sample, VerifiedStage, VerifyObserver,
    VerifyReport, VerifyRequest, Workspace,
};

use self::page::Origin;
use super::build;
use crate::cli::{BuildArgs, Global, Targets, VerifyArgs};
use crate::terminal::{note, print, tell};
use crate::ui::{counted, emit};
use crate::{interrupt, invocation};

pub fn run(global: &Global, args: &VerifyArgs) -> Result<ExitCode> {
    let (names, workspace) = (args.all(), invocation::open_with(global, &args.vars, &args.secrets)?);
    // What cannot be done is told before hours of work, not after.
    args.reports().try_for_each(writable)?;
    if let Some(other) = &args.against {
        return against::run(&workspace, args, other);
    }
    let since = args.since.as_ref().map(|since| workspace.actions_since(since)).transpose()?;
    if since.as_ref().is_some_and(BTreeSet::is_empty) {
        note(global, "verify  nothing is known of that time: every stage counts as new");
    }
    if let Err(error) = build_what_is_missing(global, args, &workspace, &names) {
        report_failed_build(args, &workspace, &error)?;
        return Err(error);
    }
    let request = request(global, args, names, since)?;
    if !request.vary.is_empty() {
        let words: Vec<_> = request.vary.iter().map(|variation| variation.word()).collect();
        note(global, &format!("verify  varies {}; {FIXED}", words.join(", ")));
    }
    let project = workspace.project();
    let progress = Progress { project: &project, global, args, state: Mutex::default() };
    let report = workspace.verify(&request, &progress)?;
    write_reports(&workspace, args, &report)?;
    match args.json {
        true => json::summary(&project, &report),
        false => print(&text::report(&project, &report))?,
    }
    if request.vary.is_empty() && report.is_reproducible() && !report.stages.is_empty() {
        note(
            global,
            "verify  on this machine and day; `--vary all` varies clock, order of directories, processors, memory and disk",
        );
    }
    conclude(&project, &report)
}

fn request(
    global: &Global,
    args: &VerifyArgs,
    names: Vec<String>,
    since: Option<BTreeSet<ActionKey>>,
) -> Result<VerifyRequest> {
    Ok(VerifyRequest {
        names,
        times: args.times,
        sample: args.sample.map(|share| Sample { share, seed: seed(global, args) }),
        vary: args.varied(),
        since,
        jobs: args.jobs,
        keep: args.keep.clone(),
        execution: ExecutionOptions {
            access: access(args),
            cancel: interrupt::cancel_in_time()?,
            ..ExecutionOptions::default()
        },
    })
}

/// What is not worth a run of its own.
const FIXED: &str =
    "users, time zone, locale, environment, network and paths are the same for every stage on each machine";

/// Exit status 0 if all stages made the same, 1 if not.
fn conclude(project: &Project<'_>, report: &VerifyReport) -> Result<ExitCode> {
    let failures: Vec<_> = report.failures().collect();
    let Some(first) = failures.first() else { return Ok(ExitCode::SUCCESS) };
    let count = failures.len();
    let what = format!("{} not reproducible", counted(count, "stage is", "stages are"));
    let name = project.graph.name(first.stage);
    let error: ibuild::Error = CheckFailed(format!("{what}; the first is `{name}`")).into();
    Err(match &first.verified.verdict {
        StageVerdict::ImageDiffers { .. } => error.with_hint(
            "an image is packed by ibuild alone, so this is a mistake of ibuild: please report it, with the recipe",
        ),
        _ => error,
    })
}

fn access(args: &VerifyArgs) -> Access {
    if args.offline { Access::Offline } else { Access::Online }
}

/// Draws a seed if none is given, and says how to draw the same sample again.
fn seed(global: &Global, args: &VerifyArgs) -> u64 {
    args.seed.unwrap_or_else(|| {
        let seed = u64::from(fastrand::u32(..));
        note(global, &format!("verify  `--seed {seed}` draws this sample again"));
        seed
    })
}

/// A server that reads results has to find one.
fn report_failed_build(args: &VerifyArgs, workspace: &Workspace, error: &Error) -> Result<()> {
    let Some(path) = &args.junit else { return Ok(()) };
    let text = junit::failed_build(&workspace.project(), error);
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// What was never built cannot be compared: a build makes it first.
fn build_what_is_missing(
    global: &Global,
    args: &VerifyArgs,
    workspace: &Workspace,
    names: &[String],
) -> Result<()> {
    let missing = workspace.unbuilt(names)?;
    if missing.is_empty() {
        return Ok(());
    }
    let project = workspace.project();
    let stages = counted(missing.len(), "stage that is not built", "stages that are not built");
    note(global, &format!("verify  builds {stages}"));
    // The last ones need all others.
    let is_needed = |stage: &StageId| {
        missing.iter().any(|other| other != stage && project.graph.needed_for(&[*other]).contains(stage))
    };
    for stage in missing.iter().filter(|stage| !is_needed(stage)) {
        build::run(global, &build_args(args, project.graph.name(*stage).to_string()))?;
    }
    Ok(())
}

/// A build of one stage, of which nothing goes to the output directory.
fn build_args(args: &VerifyArgs, stage: String) -> BuildArgs {
    BuildArgs {
        targets: Targets { named: Vec::new(), targets: Vec::new(), vars: args.vars.clone() },
        secrets: args.secrets.clone(),
        offline: args.offline,
        locked: false,
        jobs: args.jobs,
        nice: false,
        debug: false,
        keep_going: false,
        shell_on_failure: false,
        until: Some(stage),
        from: None,
        output: None,
        json: args.json,
    }
}

fn write_reports(workspace: &Workspace, args: &VerifyArgs, report: &VerifyReport) -> Result<()> {
    let project = workspace.project();
    if let Some(file) = &args.junit {
        write(file, &junit::document(&project, report))?;
    }
    if let Some(file) = &args.report {
        write(file, &html::page(&project, report, &Origin::of(workspace)?))?;
    }
    Ok(())
}

/// Makes sure that a report can be written.
fn writable(file: &PathBuf) -> Result<()> {
    let opened = fs::File::options().create(true).append(true).open(file);
    opened.map(drop).with_context(|| format!("cannot write `{}`", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

/// What is said while stages run.
struct Progress<'a> {
    project: &'a Project<'a>,
    global: &'a Global,
    args: &'a VerifyArgs,
    state: Mutex<Count>,
}

/// How far it is.
#[derive(Default)]
struct Count {
    done: usize,
    total: usize,
}

impl VerifyObserver for Progress<'_> {
    fn begin(&self, total: usize) {
        self.state.lock().expect("no panic while held").total = total;
        if self.args.json {
            emit(serde_json::json!({ "event": "begin", "stages": total }));
        }
    }

    fn started(&self, stage: StageId) {
        if !self.args.json && !self.global.quiet {
            tell!("run     {}", self.project.graph.name(stage));
        }
    }

    fn finished(&self, stage: &VerifiedStage) {
        let mut count = self.state.lock().expect("no panic while held");
        count.done += 1;
        if self.args.json {
            emit(json::stage(self.project, stage));
        } else if !self.global.quiet {
            tell!("{}  [{}/{}]", text::line(self.project, stage), count.done, count.total);
        }
    }
}

/// A verdict as the word that programs and people know it by.
fn word(stage: &VerifiedStage) -> &'static str {
    match &stage.verified.verdict {
        StageVerdict::Equal => "equal",
        StageVerdict::Differs(_) if stage.is_accepted() => "waived",
        StageVerdict::Differs(_) | StageVerdict::ImageDiffers { .. } => "differs",
        StageVerdict::Failed { .. } => "failed",
    }
}
