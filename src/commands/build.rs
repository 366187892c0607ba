//! `ibuild build`: makes targets.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use ibuild::graph::{
    BuildError, BuildReport, Engine, EngineOptions, OnFailure, Outcome, StageGraph, StageId,
};
use ibuild::stages::sandbox::Cancel;
use ibuild::stages::snapshot::Snapshot;
use ibuild::stages::{
    Artifact, Finished, Project, StageError, StageExecutor, Target, Unlocked, Wanted, publish, recover,
};
use serde_json::json;

use super::{lock, shell};
use crate::cli::{BuildArgs, Global};
use crate::failure::UsageError;
use crate::interrupt;
use crate::session::{How, Session, find_stage};
use crate::terminal::{self, harmless, tell};
use crate::ui::{Mode, Ui, bytes, emit, seconds};

pub fn run(global: &Global, args: &BuildArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let session = Session::open(global, &args.targets.vars)?;
    let project = Project::new(&session.recipe);
    let goal = Goal::of(&project, args)?;
    if args.nice {
        be_nice()?;
    }
    let shared = session.share_store(global)?;
    let cancel = interrupt::cancel_in_time()?;
    let ui = Ui::new(mode(global, args), global, &project.graph);
    prepare(&session, &ui)?;
    let observer = Arc::new(ui.clone());
    let executor = session.executor(&project, How::of(args), cancel.clone(), observer.clone(), observer)?;
    session.recipe.notices.iter().for_each(|notice| ui.note("recipe", &notice.to_string()));
    let finished = executor.context().finished();
    let mode = mode(global, args);
    let shown = Shown { session: &session, project: &project, finished, args, mode, start };
    let made = shown.make(&goal.targets, &ui, || build(&session, &project, &executor, &goal, args, &ui));
    ui.end();
    if !made.as_ref().is_ok_and(|(_, report)| report.failures.iter().any(|(_, error)| error.is_panic())) {
        // Digests that were learnt on the way only save time.
        let _ = executor.context().finish();
    }
    let (published, report) = made?;
    published.in_place.iter().for_each(|in_place| shown.target(in_place, &report));
    drop(shared);
    if report.ran() > 0 {
        session.trim_unpacked(global);
    }
    if let Some(error) = published.failed {
        return Err(error);
    }
    match first_failure(report) {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(after_failure(&project, &executor, args, &cancel, error)),
    }
}

/// Cleans up after builds that were killed, and brings back what is known of results if the index is lost.
fn prepare(session: &Session, ui: &Ui) -> Result<()> {
    if let Err(error) = session.store.sweep() {
        ui.note("store", &format!("what killed builds have left stays there: {error}"));
    }
    if session.store.lacks_index() {
        match recover(&session.store)? {
            0 => {}
            count => ui.note("store", &format!("the index was lost; {count} results were found beside it")),
        }
    }
    Ok(())
}

/// An image that is damaged in the store is found when it is copied out, and gone from there then.
fn is_damaged(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StageError::DamagedArtifact(_)))
}

/// What is to be built.
struct Goal {
    targets: Vec<Target>,
    stages: Vec<StageId>,
    forced: BTreeSet<StageId>,
}

impl Goal {
    fn of(project: &Project<'_>, args: &BuildArgs) -> Result<Self> {
        let mut targets = Vec::new();
        for text in &args.targets.targets {
            targets.extend(project.targets(text)?);
        }
        let mut stages: Vec<_> = targets.iter().filter_map(|target| project.target_stage(target)).collect();
        if let Some(until) = &args.until {
            let until = find_stage(project, until)?;
            if !targets.is_empty() {
                refuse_unneeded(project, "--until", until, &stages)?;
            }
            stages = vec![until];
            targets.clear();
        }
        if stages.is_empty() {
            return Err(nothing_asked(project).into());
        }
        let forced = match &args.from {
            Some(from) => {
                let from = find_stage(project, from)?;
                refuse_unneeded(project, "--from", from, &stages)?;
                downstream(&project.graph, from, &stages)
            }
            None => BTreeSet::new(),
        };
        Ok(Self { targets, stages, forced })
    }
}

/// Refuses a stage that an option names and that nothing of what is to be built needs: it would change nothing, or be all that
/// is built.
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

fn nothing_asked(project: &Project<'_>) -> UsageError {
    let products = project.recipe.products();
    let names = products.flat_map(|(name, formats)| formats.iter().map(move |f| format!("{name}.{f}")));
    let known = names.collect::<Vec<_>>().join(", ");
    UsageError::new("no target was named").hint(format!("pass `--target` with some of {known}"))
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

fn mode(global: &Global, args: &BuildArgs) -> Mode {
    match (args.json, global.quiet) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Quiet,
        (false, false) => Mode::Normal,
    }
}

fn build(
    session: &Session,
    project: &Project<'_>,
    executor: &StageExecutor<'_>,
    goal: &Goal,
    args: &BuildArgs,
    ui: &Ui,
) -> Result<BuildReport<StageExecutor<'static>>> {
    // A lock that cannot be read is no failure of the stage that wants it first.
    let locked = executor.context().archives().lock()?;
    let needed = project.graph.needed_for(&goal.stages);
    executor.context().prepare(&needed)?;
    lock::note_recorded(&locked, &executor.context().archives().lock()?, ui);
    let memory = session.memory();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.or(session.settings.jobs).map_or(cores, usize::from);
    let on_failure = if args.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop };
    let options = EngineOptions { jobs, on_failure, forced: goal.forced.clone() };
    ui.begin(needed.len());
    let engine = Engine::new(&project.graph, &memory, executor, ui, options);
    let report = engine.build(&goal.stages)?;
    let found = report.stages.iter().filter(|settled| settled.outcome == Outcome::Hit);
    executor.context().forget_failures(found.map(|settled| project.graph.name(settled.stage).as_str()))?;
    if report.failures.is_empty() {
        let unlocked = if args.locked { Unlocked::Refuse } else { Unlocked::Record };
        lock::settle(session, executor, &needed, unlocked, ui)?;
    }
    Ok(report)
}

/// The failure that is reported: the first one, unless there was a panic, of which others may be consequences. The others
/// have had their line while the build ran.
fn first_failure(report: BuildReport<StageExecutor<'static>>) -> Option<BuildError<StageError>> {
    let panic = report.failures.iter().position(|(_, error)| error.is_panic());
    report.failures.into_iter().nth(panic.unwrap_or(0)).map(|(_, error)| error)
}

fn after_failure(
    project: &Project<'_>,
    executor: &StageExecutor<'_>,
    args: &BuildArgs,
    cancel: &Cancel,
    error: BuildError<StageError>,
) -> anyhow::Error {
    let failed = match &error {
        BuildError::Stage { stage, source } if source.transcript().is_some() => Some(stage.to_string()),
        _ => None,
    };
    let error = anyhow::Error::from(error);
    if let Some(stage) = failed.filter(|_| args.shell_on_failure && !cancel.is_cancelled()) {
        if std::io::stdin().is_terminal() {
            tell!("error: {}", harmless(&format!("{error:#}")));
            let _ = shell::into_failure(project, executor, &stage, &[]);
        } else {
            tell!("note    `--shell-on-failure` needs a terminal");
        }
    }
    error
}

/// Says what was built.
struct Shown<'a> {
    session: &'a Session,
    project: &'a Project<'a>,
    finished: &'a Finished,
    args: &'a BuildArgs,
    mode: Mode,
    start: Instant,
}

/// The targets in their places, up to the first that could not get there.
struct Placed<'t> {
    in_place: Vec<InPlace<'t>>,
    failed: Option<anyhow::Error>,
}

impl Placed<'_> {
    /// Says which files are of this build if not all are. A file that is not there is of no build.
    fn note(&self, targets: &[Target], dir: &Path, ui: &Ui) {
        if self.failed.is_none() {
            return;
        }
        let is_new = |target: &&Target| self.in_place.iter().any(|placed| placed.target == *target);
        let (new, old): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_new);
        let old: Vec<_> = old.into_iter().filter(|target| dir.join(target.to_string()).exists()).collect();
        let names = |targets: &[&Target]| targets.iter().map(ToString::to_string).collect::<Vec<_>>();
        if let Some(said) = mixture(&names(&new), &names(&old)) {
            ui.note("output", &said);
        }
    }
}

/// The report of a build that was done once more in the same command: what ran the first time has run.
fn after(
    first: &BuildReport<StageExecutor<'static>>,
    mut again: BuildReport<StageExecutor<'static>>,
) -> BuildReport<StageExecutor<'static>> {
    for report in again.stages.iter_mut().filter(|report| report.outcome == Outcome::Hit) {
        let earlier = first.stages.iter().find(|earlier| earlier.stage == report.stage);
        if let Some(earlier) = earlier.filter(|earlier| matches!(earlier.outcome, Outcome::Ran { .. })) {
            report.clone_from(earlier);
        }
    }
    again
}

/// Which targets are of this build, and which are not, if there are any.
fn mixture(new: &[String], old: &[String]) -> Option<String> {
    let said = |targets: &[String], word: &str| {
        let names: Vec<_> = targets.iter().map(|target| format!("`{target}`")).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb} {word}", names.join(", "))
    };
    match (new, old) {
        ([], []) => None,
        ([], _) => Some(said(old, "not of this build")),
        (_, []) => Some(said(new, "of this build")),
        _ => Some(format!("{}; {}", said(new, "of this build"), said(old, "not"))),
    }
}

/// A target in its place.
struct InPlace<'t> {
    target: &'t Target,
    stage: StageId,
    artifact: Artifact,
    path: PathBuf,
}

impl Shown<'_> {
    /// Builds and puts the targets into their places; once more if an image turns out to be damaged in the store.
    fn make<'t>(
        &self,
        targets: &'t [Target],
        ui: &Ui,
        build: impl Fn() -> Result<BuildReport<StageExecutor<'static>>>,
    ) -> Result<(Placed<'t>, BuildReport<StageExecutor<'static>>)> {
        let mut report = build()?;
        let mut placed = self.publish(targets, &report);
        if let Some(error) = placed.failed.take_if(|error| is_damaged(error)) {
            ui.note("store", &format!("{error}, and is made again"));
            report = after(&report, build()?);
            placed = self.publish(targets, &report);
        }
        placed.note(targets, &self.session.output_dir(self.args.output.as_deref()), ui);
        Ok((placed, report))
    }

    /// Puts every target that was made into its place.
    fn publish<'t>(&self, targets: &'t [Target], report: &BuildReport<StageExecutor<'static>>) -> Placed<'t> {
        let mut placed = Placed { in_place: Vec::new(), failed: None };
        for target in targets {
            match self.publish_one(target, report) {
                Ok(in_place) => placed.in_place.extend(in_place),
                Err(error) => {
                    placed.failed = Some(error);
                    break;
                }
            }
        }
        placed
    }

    /// Puts a target into its place, if it was made.
    fn publish_one<'t>(
        &self,
        target: &'t Target,
        report: &BuildReport<StageExecutor<'static>>,
    ) -> Result<Option<InPlace<'t>>> {
        let stage = self.project.target_stage(target).expect("it was found before");
        let Some(output) = report.outputs.get(&stage) else { return Ok(None) };
        let Some(artifact) = output.artifact() else { return Ok(None) };
        let stages = self.snapshots(stage, report);
        let dir = self.session.output_dir(self.args.output.as_deref());
        let project = self.session.recipe.project.name.as_str();
        let wanted = Wanted { project, target: &target.to_string(), output, stages: &stages };
        let place = publish(&self.session.store, self.finished, &dir, wanted)?;
        Ok(Some(InPlace { target, stage, artifact: artifact.clone(), path: place.path }))
    }

    /// The stages that a target is made of, with what they made.
    fn snapshots<'r>(
        &'r self,
        stage: StageId,
        report: &'r BuildReport<StageExecutor<'static>>,
    ) -> Vec<(&'r str, &'r Snapshot)> {
        let needed = self.project.graph.needed_for(&[stage]);
        let made = needed.iter().filter_map(|stage| {
            let snapshot = report.outputs.get(stage)?.snapshot()?;
            Some((self.project.graph.name(*stage).as_str(), snapshot))
        });
        made.collect()
    }

    fn target(&self, published: &InPlace<'_>, report: &BuildReport<StageExecutor<'static>>) {
        let needed = self.project.graph.needed_for(&[published.stage]);
        let count = |wanted: fn(&Outcome) -> bool| {
            report.stages.iter().filter(|s| needed.contains(&s.stage) && wanted(&s.outcome)).count()
        };
        let ran = count(|outcome| matches!(outcome, Outcome::Ran { .. }));
        let cached = count(|outcome| *outcome == Outcome::Hit);
        self.line(published.target, &published.artifact, ran, cached, &published.path);
    }

    fn line(&self, target: &Target, artifact: &Artifact, ran: usize, cached: usize, path: &Path) {
        let elapsed = self.start.elapsed();
        match self.mode {
            Mode::Json => emit(json!({
                "event": "built",
                "target": target.to_string(),
                "path": path,
                "blake3": artifact.blob.hex(),
                "size": artifact.size,
                "run": ran,
                "cached": cached,
                "seconds": elapsed.as_secs_f64(),
            })),
            Mode::Normal => terminal::report(&format!(
                "built {target}  {}  {}  {ran} run, {cached} cached  {}\n",
                artifact.blob,
                bytes(artifact.size),
                seconds(elapsed)
            )),
            Mode::Quiet => {}
        }
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
    anyhow::ensure!(done, std::io::Error::last_os_error());
    Ok(())
}

#[cfg(test)]
mod tests;
