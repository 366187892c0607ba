//! `packages`: installs packages from the frozen archive, with the image's own apt.

use ibuild_graph::{Description, Value};

use super::StepContext;
use super::script::run_file;
use crate::build::changeroot::{Changeroot, MadeSnapshot};
use crate::recipe::{PackageName, Recommends};

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

/// apt's indices and downloads lie in memory: none of them is a part of the image. Locally changed configuration files
/// win over those of packages, as nobody is there to be asked.
fn install_script(names: &[PackageName], recommends: Recommends) -> String {
    let recommends = recommends == Recommends::Install;
    let names: Vec<_> = names.iter().map(PackageName::as_str).collect();
    format!(
        r#"#!/bin/sh
set -eu
mkdir -p /run/ibuild/apt/lists/partial /run/ibuild/apt/archives/partial
apt() {{
    apt-get -q -y -o Dir::State::Lists=/run/ibuild/apt/lists -o Dir::Cache::Archives=/run/ibuild/apt/archives \
        -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o APT::Install-Recommends={recommends} \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}}
apt update
apt install -- {}
"#,
        names.join(" ")
    )
}

fn shortened(names: &[PackageName]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = names.iter().take(SHOWN).map(PackageName::as_str).collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}
