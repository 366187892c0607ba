//! `script`: runs a file of the project with the interpreter of its first line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ibuild_graph::{Description, Value};

use super::{StepContext, archives_for};
use crate::build::StageError;
use crate::build::builder::Tracing;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, read_only};
use crate::build::environment::environment_of;
use crate::sandbox::{Bind, Payload, RUN_DIR};

const IMPLEMENTATION: i64 = 1;

/// The script's bytes count, its path does not.
pub(super) fn describe(context: &StepContext<'_, '_>, path: &Path) -> Result<Description, StageError> {
    let path = context.builder.project_dir().join(path);
    let bytes = fs::read(&path).map_err(StageError::io("read", &path))?;
    let mut description = Description::new("script", IMPLEMENTATION);
    description.set("script", text_or_bytes(bytes));
    Ok(description)
}

/// Text is kept as text, so that two versions can be compared line by line.
fn text_or_bytes(bytes: Vec<u8>) -> Value {
    String::from_utf8(bytes).map_or_else(|e| Value::Bytes(e.into_bytes()), Value::Text)
}

pub(super) fn run(context: &StepContext<'_, '_>, path: &Path) -> MadeSnapshot {
    let source = context.builder.project_dir().join(path);
    let root = Changeroot::over(context.builder, context.parent())?;
    run_file(context, root, source, format!("`{}`", path.display()), Vec::new())?
        .capture(context.builder, context.step)
}

/// Runs a script over a prepared root. The script lies in `/run/ibuild` under its own name, beside what is also
/// bound there and the step's inputs.
pub(super) fn run_file(
    context: &StepContext<'_, '_>,
    root: Changeroot,
    source: PathBuf,
    program: String,
    also: Vec<Bind>,
) -> Result<Changeroot, StageError> {
    let name = source.file_name().map(PathBuf::from).unwrap_or_else(|| "script".into());
    let inside = Path::new(RUN_DIR).join(&name);
    let argv = command_line(&source, &inside, context.builder.tracing())?;
    let mut binds = vec![read_only(source, name)];
    binds.extend(also);
    binds.extend(input_binds(context, &root)?);
    let work = Work {
        program,
        payload: Payload::Exec { argv },
        binds,
        from: None,
        archives: archives_for(context),
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    root.run(context.builder, &context.name.to_string(), work)
}

/// The step's inputs as they are, or, of a directory with files that are ignored, a copy without them.
fn input_binds(context: &StepContext<'_, '_>, root: &Changeroot) -> Result<Vec<Bind>, StageError> {
    let mut binds = Vec::new();
    for (number, path) in context.step.inputs.iter().enumerate() {
        let named = context.builder.project_dir().join(path);
        let source = fs::canonicalize(&named).map_err(StageError::io("read", &named))?;
        let mut shown = source.clone();
        if source.is_dir() {
            // By the name in the recipe, as it is described.
            let tree = context.builder.inputs().tree(&named)?;
            if !tree.left_out.is_empty() {
                shown = root.side_dir(&format!("in-{number}"))?;
                tree.scanned
                    .paths()
                    .iter()
                    .try_for_each(|path| copy(&source.join(path), &shown.join(path)))?;
            }
        }
        binds.push(read_only(shown, Path::new("in").join(path)));
    }
    Ok(binds)
}

fn copy(from: &Path, to: &Path) -> Result<(), StageError> {
    let kind = fs::symlink_metadata(from).map_err(StageError::io("look at", from))?.file_type();
    let copied = if kind.is_dir() {
        fs::create_dir(to)
    } else if kind.is_symlink() {
        fs::read_link(from).and_then(|target| symlink(target, to))
    } else {
        fs::copy(from, to).map(drop)
    };
    copied.map_err(StageError::io("copy", from))
}

/// The interpreter and its argument, as the kernel would take them from the first line: so a file of a checkout need not
/// be executable.
fn command_line(source: &Path, inside: &Path, tracing: Tracing) -> Result<Vec<String>, StageError> {
    let bytes = fs::read(source).map_err(StageError::io("read", source))?;
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first);
    let line = line.strip_prefix("#!").unwrap_or("/bin/sh -e").trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim())),
        None => (line, None),
    };
    let mut argv = vec![interpreter.to_owned()];
    argv.extend(argument.map(str::to_owned));
    if tracing == Tracing::On && is_shell(interpreter) {
        argv.push("-x".to_owned());
    }
    argv.push(inside.display().to_string());
    Ok(argv)
}

fn is_shell(interpreter: &str) -> bool {
    matches!(interpreter.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ksh" | "zsh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(script: &str, tracing: Tracing, expected: &[&str]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), script).unwrap();
        assert_eq!(command_line(file.path(), Path::new("/run/x"), tracing).unwrap(), expected);
    }

    #[test]
    fn the_first_line_decides() {
        check("#!/bin/sh -e\ntrue", Tracing::Off, &["/bin/sh", "-e", "/run/x"]);
        check("#! /usr/bin/env  python3 -u\n", Tracing::On, &["/usr/bin/env", "python3 -u", "/run/x"]);
        check("#!/bin/bash\n", Tracing::On, &["/bin/bash", "-x", "/run/x"]);
        check("true\n", Tracing::Off, &["/bin/sh", "-e", "/run/x"]);
    }
}
