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
    let program = Program {
        kind,
        implementation,
        name: kind.into(),
        bytes: format!("#!/bin/sh -e\n{command}\n").into_bytes(),
        label: label(command),
        changes,
    };
    let resolved = program.resolve(request)?;
    Ok(ResolvedStep { request: vec![("command", command.into())], ..resolved })
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
