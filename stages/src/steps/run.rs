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
    let resolved = program(kind, implementation, command, changes).resolve(request)?;
    Ok(ResolvedStep { request: vec![("command", command.into())], ..resolved })
}

/// The program of a text in a step of some kind.
fn program(kind: &'static str, implementation: i64, command: &str, changes: Changes) -> Program {
    let bytes = format!("#!/bin/sh -e\n{command}\n").into_bytes();
    Program { kind, implementation, name: kind.into(), bytes, label: label(command), changes }
}

/// The program of a step that runs a text: `run` or `check`.
pub(super) fn of_text(kind: &'static str, command: &str) -> Program {
    program(kind, IMPLEMENTATION, command, Changes::Discarded)
}

/// How messages call a text: by its first line that does something.
fn label(command: &str) -> String {
    let mut lines = command.lines().map(str::trim);
    format!("`{}`", lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_called_by_what_it_does() {
        assert_eq!(
            label("\n  # Names the machine.\n\n  echo veil > /etc/hostname\ntrue"),
            "`echo veil > /etc/hostname`"
        );
        assert_eq!(label("# nothing"), "``");
    }
}
