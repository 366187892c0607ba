//! `ibuild log`: what a stage said the last time it ran, whether or not it succeeded.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use ibuild::stages::{Logs, Project, readable};
use ibuild::{Context, Result, UsageError};

use crate::cli::{Global, LogArgs};
use crate::invocation;
use crate::terminal::{print, tell, write};

pub fn run(global: &Global, args: &LogArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = Project::new(&workspace.recipe);
    let logs = Logs::new(workspace.store.layout(), workspace.recipe.project.name.as_str());
    let name = match &args.stage {
        Some(text) => project.graph.name(workspace.find_stage(text)?).to_string(),
        None => latest(&project, &logs)?,
    };
    if !logs.path(&name).exists() {
        return Err(never_ran(&name, neighbour(&project, &logs, &name)).into());
    }
    show(&logs.path(&name), &name, if args.raw { Shown::AsItIs } else { Shown::Readable })?;
    Ok(ExitCode::SUCCESS)
}

/// How a log is shown.
#[derive(Clone, Copy)]
enum Shown {
    /// Byte by byte.
    AsItIs,
    /// Without what would make a terminal do things.
    Readable,
}

fn latest(project: &Project<'_>, logs: &Logs) -> Result<String> {
    let names = project.graph.in_build_order().map(|stage| project.graph.name(stage).as_str());
    let nothing = || UsageError::new("no stage of this project has run yet").hint("`ibuild build` runs them");
    let name = logs.latest(names).ok_or_else(nothing)?;
    tell!("log of `{name}`");
    Ok(name.to_owned())
}

fn show(path: &Path, name: &str, how: Shown) -> Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(never_ran(name, None).into()),
        Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    };
    match how {
        Shown::AsItIs => Ok(write(&bytes)?),
        // What a stage says is not to be trusted with a terminal, nor with one at the end of a pipe.
        Shown::Readable => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: String = text.lines().flat_map(|line| [readable(line), "\n".to_owned()]).collect();
            Ok(print(&lines)?)
        }
    }
}

/// The step of the same root file system that ran last, if any did.
fn neighbour<'p>(project: &'p Project<'_>, logs: &Logs, name: &str) -> Option<&'p str> {
    let (rootfs, _) = name.split_once('/')?;
    let names = project.graph.in_build_order().map(|stage| project.graph.name(stage).as_str());
    logs.latest(names.filter(|other| other.split_once('/').is_some_and(|(other, _)| other == rootfs)))
}

fn never_ran(name: &str, neighbour: Option<&str>) -> UsageError {
    let hint = match (neighbour, name.contains('/')) {
        (Some(other), _) => format!("`ibuild log {other}` shows that of `{other}`, which ran last there"),
        (None, true) => format!(
            "`ibuild build --until {name} --from {name}` runs it, even if its result is there already"
        ),
        (None, false) => format!("`ibuild build --target {name}` makes it"),
    };
    UsageError::new(format!("`{name}` has no log: it never ran here")).hint(hint)
}
