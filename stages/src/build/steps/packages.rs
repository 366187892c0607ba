//! `packages`: installs packages from the frozen archive, with the image's own apt.

use std::path::Path;

use ibuild_graph::{Description, Value};

use super::script::run_file;
use super::{StepContext, archives_for};
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, read_only};
use crate::build::environment::environment_of;
use crate::build::{StageError, apt};
use crate::packages::Plan;
use crate::recipe::{PackageName, Recommends};
use crate::sandbox::{Access, Bind, Payload};

const IMPLEMENTATION: i64 = 1;

pub(super) fn describe(names: &[PackageName], recommends: Recommends) -> Description {
    let mut description = Description::new("packages", IMPLEMENTATION);
    description.set("packages", Value::texts(names.iter().map(PackageName::as_str)));
    description.set("recommends", if recommends == Recommends::Install { "install" } else { "skip" });
    description
}

pub(super) fn run(
    context: &StepContext<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> MadeSnapshot {
    let root = Changeroot::over(context.builder, context.parent())?;
    let plan = root.side_dir(apt::PLAN)?;
    let script = root.side_file("packages", apt::install_script(names, recommends))?;
    let program = format!("`apt-get install {}`", shortened(names));
    let root = run_file(context, root, script, program, vec![writable(&plan)])?;
    context.builder.note_course(&context.name.to_string(), apt::course_in(&plan));
    root.capture(context.builder, context.step)
}

/// The packages that it would install, if apt would install each that the step names and remove none.
pub(super) fn plan(
    context: &StepContext<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<Option<Plan>, StageError> {
    let root = Changeroot::over(context.builder, context.parent())?;
    let plan = root.side_dir(apt::PLAN)?;
    let script = root.side_file("packages", apt::ask_script(names, recommends))?;
    let work = Work {
        program: "what apt would install".to_owned(),
        payload: Payload::Exec { argv: ["/bin/sh", "/run/ibuild/packages"].map(str::to_owned).to_vec() },
        binds: vec![read_only(script, "packages"), writable(&plan)],
        from: None,
        archives: archives_for(context),
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    if !root.ask(context.builder, &context.name.to_string(), &work)? {
        return Ok(None);
    }
    let view = context.builder.archives().view(archives_for(context))?;
    Ok(apt::plan_in(&plan, &view, names))
}

fn writable(plan: &Path) -> Bind {
    Bind { source: plan.to_owned(), target: apt::PLAN.into(), access: Access::ReadWrite }
}

fn shortened(names: &[PackageName]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = names.iter().take(SHOWN).map(PackageName::as_str).collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
