//! `check`: a text for `/bin/sh -e` that has to succeed. What it writes is thrown away.

use super::StepContext;
use super::run::command_text;
use crate::StageError;
use crate::executor::resolved::{Changes, ResolvedStep};

const IMPLEMENTATION: i64 = 1;

pub(super) fn resolve(context: &StepContext<'_, '_>, command: &str) -> Result<ResolvedStep, StageError> {
    command_text(context, "check", IMPLEMENTATION, command, Changes::Discarded)
}
