//! `packages`: installs packages from the frozen archive, with the image's own apt.

use ibuild_graph::Value;

use super::program::Program;
use super::{StepRequest, command};
use crate::StageError;
use crate::executor::apt;
use crate::executor::resolved::{Changes, ResolvedStep};
use crate::executor::stage_run::{StageRun, policy};
use crate::packages::Plan;
use crate::recipe::{PackageName, Recommends};
use crate::sandbox::{Shown, ShownContent};

const IMPLEMENTATION: i64 = 3;

pub(super) fn resolve(
    request: &StepRequest<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<ResolvedStep, StageError> {
    let label = format!("`apt-get install {}`", shortened(names));
    let resolved = with_script(request, apt::install_script(names, recommends), label)?;
    let request = vec![
        ("packages", Value::texts(names.iter().map(PackageName::as_str))),
        ("recommends", if recommends == Recommends::Install { "install" } else { "skip" }.into()),
    ];
    Ok(ResolvedStep { request, ..resolved })
}

fn with_script(
    request: &StepRequest<'_, '_>,
    script: String,
    label: String,
) -> Result<ResolvedStep, StageError> {
    let program = Program {
        kind: "packages",
        implementation: IMPLEMENTATION,
        name: "packages".into(),
        bytes: script.into_bytes(),
        label,
        changes: Changes::Kept,
    };
    let mut resolved = program.resolve(request)?;
    resolved.view.shown.push(Shown { path: apt::PLAN.into(), content: ShownContent::Output });
    Ok(resolved)
}

/// The packages that it would install, if apt would install each that the step names and remove none.
pub(super) fn plan(
    request: &StepRequest<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<Option<Plan>, StageError> {
    let script = apt::ask_script(names, recommends);
    let resolved = with_script(request, script, "what apt would install".to_owned())?;
    let run = StageRun::over(request.context, resolved.start.parent())?;
    let policy = policy(request.step.timeout, &request.step.limits);
    let stage = request.name.to_string();
    if !run.ask(request.context, &command(&stage, &resolved, &[], policy))? {
        return Ok(None);
    }
    let view = request.context.archives().view(resolved.archive_names())?;
    Ok(apt::plan_in(&run.output(apt::PLAN), &view, names))
}

fn shortened(names: &[PackageName]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = names.iter().take(SHOWN).map(PackageName::as_str).collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
