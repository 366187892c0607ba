//! The kinds of steps. Each file says what describes its kind and how it is made; adding a kind means adding a file.

mod bootstrap;
mod check;
mod copy;
mod copy_from;
mod packages;
mod run;
mod script;

use ibuild_graph::{Description, Value};

use super::StageError;
use super::builder::Builder;
use super::changeroot::{MadeSnapshot, reachable};
use super::environment::environment_of;
use super::inputs::Described;
use crate::packages::Plan;
use crate::recipe::{ArchiveName, Network, StageName, Step, StepKind};
use crate::snapshot::Snapshot;

/// Raised when a change to the sandbox, to what is injected into it, or to the capture makes the same step give another
/// tree, or the same by another layer.
const SANDBOX: i64 = 4;

/// A step of one build.
pub(super) struct StepContext<'a, 'b> {
    pub builder: &'a Builder<'b>,
    pub name: &'a StageName,
    pub step: &'a Step,
    /// What the step stands on, and then what it copies from.
    pub inputs: &'a [&'a Snapshot],
}

impl StepContext<'_, '_> {
    fn parent(&self) -> Option<&Snapshot> {
        self.inputs.first().copied()
    }
}

/// Everything that can change what a step makes.
///
/// | field | of |
/// |---|---|
/// | kind, implementation | the step's kind and the version of its code |
/// | epoch | the project: the latest time of any file |
/// | sandbox | the version of what every stage sees and of what is scrubbed and clamped afterwards |
/// | parent tree | the tree that it stands on |
/// | env | the whole environment, for steps that run a program |
/// | archive | addresses, keys, suites, components and locked states, for steps that may install |
/// | inputs | files it may read |
/// | volatile | paths scrubbed afterwards |
///
/// and the kind's own. Left out on purpose: the time-out and the limits, which can only make it fail, and everything about
/// the machine that builds. A stage cannot read its limits: they are those of control groups, which it does not see.
pub(super) fn describe(
    builder: &Builder<'_>,
    name: &StageName,
    step: &Step,
    inputs: &[&Snapshot],
) -> Result<Description, StageError> {
    let context = StepContext { builder, name, step, inputs };
    let mut description = match &step.kind {
        StepKind::Bootstrap { variant, include, .. } => bootstrap::describe(*variant, include),
        StepKind::Packages { names, recommends } => packages::describe(names, *recommends),
        StepKind::Copy(rules) => copy::describe(&context, rules)?,
        StepKind::Script { path } => script::describe(&context, path)?,
        StepKind::Run { command } => run::describe(command),
        StepKind::CopyFrom { rootfs, paths } => copy_from::describe(&context, rootfs, paths)?,
        StepKind::Check { command } => check::describe(command),
    };
    describe_surroundings(&context, &mut description)?;
    Ok(description)
}

fn describe_surroundings(context: &StepContext<'_, '_>, into: &mut Description) -> Result<(), StageError> {
    let StepContext { builder, name, step, .. } = context;
    into.set("sandbox", SANDBOX);
    into.set("epoch", builder.epoch());
    into.set("volatile", Value::texts(&step.volatile));
    into.set("parent tree", Value::option(context.parent().map(|p| Value::Digest(*p.tree.as_bytes()))));
    if !matches!(step.kind, StepKind::Copy(_) | StepKind::CopyFrom { .. }) {
        let env = environment_of(builder, name, step);
        into.set("env", Value::map(env.into_iter().map(|(name, value)| (name, value.into()))));
    }
    if step.network == Network::Packages {
        into.set("archive", builder.archives().describe(builder.archives_of(name))?);
    }
    let (mut inputs, mut left_out) = (Vec::new(), Vec::new());
    for path in &step.inputs {
        let Described { value, ignored } = builder.inputs().describe(path)?;
        left_out.extend(ignored.iter().map(|file| path.join(file).display().to_string()));
        inputs.push((path.display().to_string(), value));
    }
    builder.report_ignored(&name.to_string(), &left_out);
    into.set("inputs", Value::map(inputs));
    Ok(())
}

/// Makes a step.
pub(super) fn run(
    builder: &Builder<'_>,
    name: &StageName,
    step: &Step,
    inputs: &[&Snapshot],
) -> MadeSnapshot {
    let context = StepContext { builder, name, step, inputs };
    match &step.kind {
        StepKind::Bootstrap { archive, include, .. } => bootstrap::run(&context, archive, include),
        StepKind::Packages { names, recommends } => packages::run(&context, names, *recommends),
        StepKind::Copy(rules) => copy::run(&context, rules),
        StepKind::Script { path } => script::run(&context, path),
        StepKind::Run { command } => run::run(&context, command),
        StepKind::CopyFrom { paths, .. } => copy_from::run(&context, paths),
        StepKind::Check { command } => check::run(&context, command),
    }
}

/// Which packages a step would install and how, without installing any. `None` where only a run can tell.
pub(super) fn plan(
    builder: &Builder<'_>,
    name: &StageName,
    step: &Step,
    inputs: &[&Snapshot],
) -> Result<Option<Plan>, StageError> {
    let context = StepContext { builder, name, step, inputs };
    match &step.kind {
        StepKind::Bootstrap { archive, include, .. } => {
            let debs = bootstrap::plan(&context, archive, include)?;
            Ok(Some(Plan { debs, course: None }))
        }
        StepKind::Packages { names, recommends } => packages::plan(&context, names, *recommends),
        _ => Ok(None),
    }
}

/// The archives that the step may install from; none if it may not.
fn archives_for<'a>(context: &StepContext<'_, 'a>) -> &'a [ArchiveName] {
    reachable(context.step, context.builder.archives_of(context.name))
}
