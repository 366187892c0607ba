//! `script`: runs a file of the project with the interpreter of its first line.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ibuild_graph::Value;

use super::StepRequest;
use super::program::Program;
use crate::StageError;
use crate::executor::resolved::{Changes, ResolvedStep};
use crate::fields::SCRIPT;
use crate::host::bounded;
use crate::spec::bounds::LONGEST_SCRIPT;

const IMPLEMENTATION: i64 = 1;

/// The script runs under its own name, which it can see. Where it lies in the project does not count.
pub(super) fn resolve(request: &StepRequest<'_, '_>, path: &Path) -> Result<ResolvedStep, StageError> {
    let program = program(request, path)?;
    let name = text_or_bytes(program.name.as_os_str().as_bytes().to_vec());
    let asked = vec![("name", name), (SCRIPT, text_or_bytes(program.bytes.clone()))];
    Ok(ResolvedStep { request: asked, ..program.resolve(request)? })
}

/// The script as a program.
pub(super) fn program(request: &StepRequest<'_, '_>, path: &Path) -> Result<Program, StageError> {
    let source = request.context.project_dir().join(path);
    let bytes = bounded::read(&source, LONGEST_SCRIPT).map_err(StageError::io("read", &source))?;
    let name = path.file_name().expect("a checked recipe's scripts have names");
    Ok(Program {
        kind: "script",
        implementation: IMPLEMENTATION,
        name: name.into(),
        bytes,
        label: format!("`{}`", path.display()),
        changes: Changes::Kept,
    })
}

/// Text is kept as text, so that two versions can be compared line by line.
fn text_or_bytes(bytes: Vec<u8>) -> Value {
    String::from_utf8(bytes).map_or_else(|e| Value::Bytes(e.into_bytes()), Value::Text)
}
