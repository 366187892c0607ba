//! `check`: a text for `/bin/sh -e` that has to succeed. What it writes is thrown away.

use super::StepRequest;
use super::run::command_text;
use crate::StageError;
use crate::executor::resolved::{Changes, ResolvedStep};

const IMPLEMENTATION: i64 = 1;

pub(super) fn resolve(request: &StepRequest<'_, '_>, command: &str) -> Result<ResolvedStep, StageError> {
    command_text(request, "check", IMPLEMENTATION, command, Changes::Discarded)
}
