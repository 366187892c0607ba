//! `run`: a text for `/bin/sh -e`.

use super::StepRequest;
use super::program::Program;
use crate::StageError;
use crate::executor::resolved::{Changes, ResolvedStep};

const IMPLEMENTATION: i64 = 1;

pub(super) fn resolve(request: &StepRequest<'_, '_>, command: &str) -> Result<ResolvedStep, StageError> {
    command_text(request, "run", IMPLEMENTATION, command, Changes::Kept)
}

/// A step of some kind that runs a text.
pub(super) fn command_text(
    request: &StepRequest<'_, '_>,
    kind: &'static str,
    implementation: i64,
    command: &str,
    changes: Changes,
) -> Result<ResolvedStep, StageError> {
    let first = command.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let program = Program {
        kind,
        implementation,
        name: kind.into(),
        bytes: format!("#!/bin/sh -e\n{command}\n").into_bytes(),
        label: format!("`{}`", first.trim()),
        changes,
    };
    let resolved = program.resolve(request)?;
    Ok(ResolvedStep { request: vec![("command", command.into())], ..resolved })
}
