//! `run`: a text for `/bin/sh -e`.

use ibuild_graph::Description;

use super::StepContext;
use super::script::run_file;
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot};

const IMPLEMENTATION: i64 = 1;

pub(super) fn describe(command: &str) -> Description {
    let mut description = Description::new("run", IMPLEMENTATION);
    description.set("command", command);
    description
}

pub(super) fn run(context: &StepContext<'_, '_>, command: &str) -> MadeSnapshot {
    run_command(context, command, "run")?.capture(context.builder, context.step)
}

/// Runs a text as a script of this name.
pub(super) fn run_command(
    context: &StepContext<'_, '_>,
    command: &str,
    name: &str,
) -> Result<Changeroot, StageError> {
    let root = Changeroot::over(context.builder, context.parent())?;
    let script = root.side_file(name, format!("#!/bin/sh -e\n{command}\n"))?;
    let first = command.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    run_file(context, root, script, format!("`{}`", first.trim()), Vec::new())
}
