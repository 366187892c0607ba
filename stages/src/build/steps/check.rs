//! `check`: a text for `/bin/sh -e` that has to succeed. What it writes is thrown away.

use ibuild_graph::{Description, Made};

use super::StepContext;
use super::run::run_command;
use crate::build::changeroot::MadeSnapshot;

const IMPLEMENTATION: i64 = 1;

pub(super) fn describe(command: &str) -> Description {
    let mut description = Description::new("check", IMPLEMENTATION);
    description.set("command", command);
    description
}

/// The snapshot stays what it was: a check that changes lets everything after it be fresh.
pub(super) fn run(context: &StepContext<'_, '_>, command: &str) -> MadeSnapshot {
    run_command(context, command, "check")?;
    let output = context.parent().expect("a check stands on something").clone();
    Ok(Made::whole(output))
}
