//! The kinds of steps. Each file resolves its kind; adding a kind means adding a file. All of them run in the same way.

mod bootstrap;
mod check;
mod copy;
mod copy_from;
mod fetch;
mod packages;
mod program;
mod run;
mod script;

use std::io::Write;

use ibuild_graph::Made;

use crate::StageError;
use crate::executor::apt;
use crate::executor::context::StageContext;
use crate::executor::failed_state::{FailedState, Remains};
use crate::executor::resolved::{ArchiveAccess, Changes, OutputRules, ResolvedStep, Start};
use crate::executor::second_run::SecondRun;
use crate::executor::secrets::SecretGuard;
use crate::executor::stage_run::{StageCommand, StageRun};
use crate::packages::{DebRef, Plan};
use crate::packages_used::package_usage::PackageUsage;
use crate::recipe::{ArchiveName, Network, Step, StepKind, StepPath};
use crate::sandbox::{RunPolicy, SandboxView};
use crate::snapshot::Snapshot;

/// A step of one build.
pub(super) struct StepRequest<'a, 'b> {
    pub context: &'a StageContext<'b>,
    pub name: &'a StepPath,
    pub step: &'a Step,
    /// What the step stands on, and then what it copies from.
    pub inputs: &'a [&'a Snapshot],
}

impl StepRequest<'_, '_> {
    /// What the step stands on. Only a bootstrap stands on nothing, and it does not ask.
    fn start(&self) -> Start {
        Start::Over((*self.inputs.first().expect("a step stands on another one")).clone())
    }

    /// The archives that the step may install from; none if it may not.
    fn archives(&self) -> Result<Option<ArchiveAccess>, StageError> {
        if self.step.network != Network::Packages {
            return Ok(None);
        }
        let names = self.context.archives_of(self.name);
        Ok(Some(ArchiveAccess { names: names.clone(), state: self.context.archives().describe(names)? }))
    }

    fn output(&self, changes: Changes) -> OutputRules {
        OutputRules { epoch: self.context.epoch(), volatile: self.step.volatile.clone(), changes }
    }
}

/// Looks at the recipe, the project and the archives, and puts everything that can change what a step makes into one value.
pub(super) fn resolve(
    context: &StageContext<'_>,
    name: &StepPath,
    step: &Step,
    inputs: &[&Snapshot],
) -> Result<ResolvedStep, StageError> {
    let request = StepRequest { context, name, step, inputs };
    match &step.kind {
        StepKind::Bootstrap { archive, variant, include } => {
            bootstrap::resolve(&request, archive, *variant, include)
        }
        StepKind::Packages { names, recommends } => packages::resolve(&request, names, *recommends),
        StepKind::Copy(rules) => copy::resolve(&request, rules),
        StepKind::Script { path } => script::resolve(&request, path),
        StepKind::Run { command } => run::resolve(&request, command),
        StepKind::CopyFrom { rootfs, paths } => copy_from::resolve(&request, rootfs, paths),
        StepKind::Fetch(rules) => fetch::resolve(&request, rules),
        StepKind::Check { command } => check::resolve(&request, command),
    }
}

/// What a step that runs a program sees, for somebody who looks around in its place.
pub(crate) struct ProgramView {
    /// What its sandbox holds and does.
    pub view: SandboxView,
    /// The archives that it may install from.
    pub archives: Vec<ArchiveName>,
}

/// What a step sees that runs a program of the recipe; the others run something of ibuild's own.
pub(crate) fn program_view(
    context: &StageContext<'_>,
    name: &StepPath,
    step: &Step,
) -> Result<Option<ProgramView>, StageError> {
    let request = StepRequest { context, name, step, inputs: &[] };
    let program = match &step.kind {
        StepKind::Script { path } => script::program(&request, path)?,
        StepKind::Run { command } => run::of_text("run", command),
        StepKind::Check { command } => run::of_text("check", command),
        _ => return Ok(None),
    };
    let archives = request.archives()?;
    let view = program.view(&request, archives.as_ref())?;
    let archives = archives.map(|access| access.names.all().to_vec()).unwrap_or_default();
    Ok(Some(ProgramView { view, archives }))
}

/// What a step made, and what it was made of, if that is known.
pub(super) struct StepMade {
    pub made: Made<Snapshot, StageError>,
    pub evidence: Option<PackageUsage>,
}

/// Makes a step from its value.
pub(super) fn run(
    context: &StageContext<'_>,
    stage: &str,
    resolved: &ResolvedStep,
    policy: RunPolicy,
) -> Result<StepMade, StageError> {
    let guard = SecretGuard::of(&resolved.view.secrets)?;
    let prepared = prepare(context, resolved);
    let (run, base_packages) =
        prepared.inspect_err(|error| remember_early_failure(context, stage, resolved, error))?;
    let command = StageCommand { guard: guard.as_ref(), ..command(stage, resolved, &base_packages, policy) };
    let asked = run.run(context, &command)?;
    let evidence = match &resolved.start {
        // What it would ask for is known ahead.
        Start::Bootstrap(_) => Some(PackageUsage { debs: base_packages, asked: None, course: None }),
        Start::Over(_) => {
            let course = apt::course_in(&run.output(apt::PLAN));
            asked.map(|asked| PackageUsage { course, ..asked })
        }
    };
    let made = match (&resolved.start, resolved.output.changes) {
        // A check that changes lets everything after it be fresh.
        (Start::Over(parent), Changes::Discarded) => Made::whole(parent.clone()),
        _ => run.capture(context, stage, &resolved.output, guard.as_ref())?,
    };
    Ok(StepMade { made, evidence })
}

/// Makes a step from its value once more. Nothing of it is remembered.
pub(super) fn run_again<'s>(
    context: &StageContext<'s>,
    stage: &str,
    resolved: &ResolvedStep,
    policy: RunPolicy,
) -> Result<SecondRun<'s>, StageError> {
    let guard = SecretGuard::of(&resolved.view.secrets)?;
    let (run, base_packages) = prepare(context, resolved)?;
    let command = StageCommand { guard: guard.as_ref(), ..command(stage, resolved, &base_packages, policy) };
    SecondRun::of(run, context, &command, &resolved.output)
}

/// Remembers that a step failed before anything ran in it, such as a download. Its log says so in place of that of an earlier run. If
/// that cannot be written, the failure is still what the build has to tell.
fn remember_early_failure(
    context: &StageContext<'_>,
    stage: &str,
    resolved: &ResolvedStep,
    error: &StageError,
) {
    if error.is_interrupt() {
        return;
    }
    let why = error.in_a_line();
    if let Ok((mut log, _)) = context.logs().create(stage) {
        let _ = writeln!(log, "nothing ran: {why}");
    }
    let layers = resolved.start.parent().map(|parent| parent.layers.clone()).unwrap_or_default();
    let (store, project) = (context.store(), context.project_name());
    let _ = FailedState::keep(store, project, stage, Remains::Word, layers, why);
}

/// What is there before the payload runs, and of a bootstrap the packages that are.
fn prepare(
    context: &StageContext<'_>,
    resolved: &ResolvedStep,
) -> Result<(StageRun, Vec<DebRef>), StageError> {
    resolved.fetched.iter().try_for_each(|file| file.obtain(context))?;
    let run = StageRun::over(context, resolved.start.parent())?;
    let mut base_packages = Vec::new();
    if let Start::Bootstrap(base) = &resolved.start {
        base_packages = base.select(context)?;
        base.unpack(context, &base_packages, &run.upper())?;
    }
    Ok((run, base_packages))
}

fn command<'a>(
    stage: &'a str,
    resolved: &'a ResolvedStep,
    base_packages: &'a [DebRef],
    policy: RunPolicy,
) -> StageCommand<'a> {
    let archives = match resolved.start {
        // Its packages are there before it runs.
        Start::Bootstrap(_) => &[],
        Start::Over(_) => resolved.archive_names(),
    };
    StageCommand {
        stage,
        program: &resolved.program,
        view: &resolved.view,
        epoch: resolved.output.epoch,
        archives,
        from: resolved.from.as_ref(),
        base_packages,
        policy,
        guard: None,
    }
}

/// Which packages a step would install and how, without installing any. `None` where only a run can tell.
pub(super) fn plan(
    context: &StageContext<'_>,
    name: &StepPath,
    step: &Step,
    inputs: &[&Snapshot],
) -> Result<Option<Plan>, StageError> {
    let request = StepRequest { context, name, step, inputs };
    match &step.kind {
        StepKind::Bootstrap { archive, variant, include } => {
            let debs = bootstrap::plan(&request, archive, *variant, include)?;
            Ok(Some(Plan { debs, course: None }))
        }
        StepKind::Packages { names, recommends } => packages::plan(&request, names, *recommends),
        _ => Ok(None),
    }
}
