//! `packages`: installs packages from the frozen archive, with the image's own apt.

use std::collections::BTreeSet;
use std::fs;

use ibuild_graph::{Description, Value};

use super::script::run_file;
use super::{StepContext, archives_for};
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, read_only};
use crate::build::environment::environment_of;
use crate::packages::{PlannedDeb, planned};
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
    let script = root.side_file("packages", install_script(names, recommends))?;
    let program = format!("`apt-get install {}`", shortened(names));
    run_file(context, root, script, program)?.capture(context.builder, context.step)
}

/// The packages that it would install, if apt would install each that the step names and remove none.
pub(super) fn plan(
    context: &StepContext<'_, '_>,
    names: &[PackageName],
    recommends: Recommends,
) -> Result<Option<BTreeSet<PlannedDeb>>, StageError> {
    let root = Changeroot::over(context.builder, context.parent())?;
    let plan = root.side_dir("plan")?;
    let ask = format!(
        "{}apt update\napt -qq -o Acquire::ForceHash=SHA256 --print-uris install -- {names} > /run/ibuild/plan/addresses\n\
         apt -qq --simulate install -- {names} > /run/ibuild/plan/simulated\n",
        head(recommends),
        names = line(names),
    );
    let script = root.side_file("packages", ask)?;
    let work = Work {
        program: "what apt would install".to_owned(),
        payload: Payload::Exec { argv: ["/bin/sh", "/run/ibuild/packages"].map(str::to_owned).to_vec() },
        binds: vec![
            read_only(script, "packages"),
            Bind { source: plan.clone(), target: "plan".into(), access: Access::ReadWrite },
        ],
        from: None,
        archives: archives_for(context),
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    if !root.ask(context.builder, &context.name.to_string(), &work)? {
        return Ok(None);
    }
    let names: Vec<_> = names.iter().map(PackageName::as_str).collect();
    let said = |name: &str| fs::read_to_string(plan.join(name)).ok();
    let view = context.builder.archives().view(archives_for(context))?;
    Ok(said("addresses")
        .zip(said("simulated"))
        .and_then(|(addresses, simulated)| planned(&view, &names, &addresses, &simulated)))
}

fn install_script(names: &[PackageName], recommends: Recommends) -> String {
    format!("{}apt update\napt install -- {}\n", head(recommends), line(names))
}

/// apt's indices and downloads lie in memory: none of them is a part of the image. Locally changed configuration files
/// win over those of packages, as nobody is there to be asked.
fn head(recommends: Recommends) -> String {
    let recommends = recommends == Recommends::Install;
    format!(
        r#"#!/bin/sh
set -eu
mkdir -p /run/ibuild/apt/lists/partial /run/ibuild/apt/archives/partial
apt() {{
    apt-get -q -y -o Dir::State::Lists=/run/ibuild/apt/lists -o Dir::Cache::Archives=/run/ibuild/apt/archives \
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
