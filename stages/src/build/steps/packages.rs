//! `packages`: installs packages from the frozen archive, with the image's own apt.

use std::collections::BTreeSet;
use std::fs;

use ibuild_graph::Value;

use super::program::Program;
use super::{StepContext, command};
use crate::build::StageError;
use crate::build::resolved::{Changes, ResolvedStep};
use crate::build::stage_run::{StageRun, policy};
use crate::packages::{PlannedDeb, planned};
use crate::recipe::{PackageName, Recommends};
use crate::sandbox::{Shown, ShownContent, Tracing};

const IMPLEMENTATION: i64 = 2;

/// Where a plan is written, below `/run/ibuild`.
const PLAN: &str = "plan";

pub(super) fn resolve(
    context: &StepContext<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<ResolvedStep, StageError> {
    let label = format!("`apt-get install {}`", shortened(names));
    let resolved = with_script(context, install_script(names, recommends), label)?;
    let request = vec![
        ("packages", Value::texts(names.iter().map(PackageName::as_str))),
        ("recommends", if recommends == Recommends::Install { "install" } else { "skip" }.into()),
    ];
    Ok(ResolvedStep { request, ..resolved })
}

fn with_script(
    context: &StepContext<'_, '_>,
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
    program.resolve(context)
}

/// The packages that it would install, if apt would install each that the step names and remove none.
pub(super) fn plan(
    context: &StepContext<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<Option<BTreeSet<PlannedDeb>>, StageError> {
    let ask = format!(
        "{}apt update\napt -qq -o Acquire::ForceHash=SHA256 --print-uris install -- {names} > /run/ibuild/plan/addresses\n\
         apt -qq --simulate install -- {names} > /run/ibuild/plan/simulated\n",
        head(recommends),
        names = line(names),
    );
    let mut resolved = with_script(context, ask, "what apt would install".to_owned())?;
    resolved.view.shown.push(Shown { path: PLAN.into(), content: ShownContent::Output });
    let run = StageRun::over(context.builder, resolved.start.parent())?;
    let policy = policy(context.step.timeout, &context.step.limits, Tracing::Off);
    let stage = context.name.to_string();
    if !run.ask(context.builder, &command(&stage, &resolved, &[], policy))? {
        return Ok(None);
    }
    let names: Vec<_> = names.iter().map(PackageName::as_str).collect();
    let said = |name: &str| fs::read_to_string(run.output(PLAN).join(name)).ok();
    let view = context.builder.archives().view(resolved.archive_names())?;
    Ok(said("addresses")
        .zip(said("simulated"))
        .and_then(|(addresses, simulated)| planned(&view, &names, &addresses, &simulated)))
}

fn install_script(names: &[PackageName], recommends: Recommends) -> String {
    format!("{}apt update\napt install -- {}\n", head(recommends), line(names))
}

/// apt's indices and downloads lie in memory: none of them is a part of the image. Locally changed configuration files
/// win over those of packages, as nobody is there to be asked. apt is named by its path, because a distribution may have a
/// wrapper of the same name in front of it.
fn head(recommends: Recommends) -> String {
    let recommends = recommends == Recommends::Install;
    format!(
        r#"#!/bin/sh
set -eu
mkdir -p /run/ibuild/apt/lists/partial /run/ibuild/apt/archives/partial
apt() {{
    /usr/bin/apt-get -q -y -o Dir::State::Lists=/run/ibuild/apt/lists -o Dir::Cache::Archives=/run/ibuild/apt/archives \
        -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o APT::Install-Recommends={recommends} \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}}
"#
    )
}

fn line(names: &[PackageName]) -> String {
    names.iter().map(PackageName::as_str).collect::<Vec<_>>().join(" ")
}

fn shortened(names: &[PackageName]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = names.iter().take(SHOWN).map(PackageName::as_str).collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
