//! `ibuild cache pin` and `unpin`: what garbage collection keeps in any case.

use std::process::ExitCode;

use ibuild::graph::Pin;
use ibuild::stages::Project;
use ibuild::{Result, UsageError, Workspace};

use crate::cli::{Global, PinArgs};
use crate::invocation;
use crate::terminal::print;

pub fn set(global: &Global, args: &PinArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = Project::new(&workspace.recipe);
    for stage in workspace.find_stages(&args.name)? {
        let stage = project.graph.name(stage);
        let never = || {
            UsageError::new(format!("`{stage}` was never built"))
                .hint(format!("`ibuild build --until {stage}` builds it"))
        };
        let last = workspace.memory().last_run(stage)?.ok_or_else(never)?;
        workspace.memory().result(&last.key)?.ok_or_else(never)?;
        let pin = Pin { project: project_name(&workspace), stage: stage.clone(), key: last.key };
        pin.set(&workspace.store)?;
        print(&format!("pinned {stage}  {}\n", last.key.short()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that the recipe no longer has is taken as it is.
pub fn remove(global: &Global, args: &PinArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = Project::new(&workspace.recipe);
    let meant = workspace.find_stages(&args.name).unwrap_or_default();
    let names: Vec<_> = meant.into_iter().map(|stage| project.graph.name(stage).to_string()).collect();
    let is_meant = |pin: &Pin| {
        let stage = pin.stage.as_str();
        pin.project == project_name(&workspace)
            && (stage == args.name || names.iter().any(|name| name == stage))
    };
    let pins: Vec<_> = Pin::all(&workspace.store)?.into_iter().filter(is_meant).collect();
    if pins.is_empty() {
        let error = UsageError::new(format!("nothing is pinned of `{}`", args.name));
        return Err(error.hint("`ibuild cache ls` shows pins").into());
    }
    for pin in pins {
        pin.remove(&workspace.store)?;
        print(&format!("unpinned {}  {}\n", pin.stage, pin.key.short()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn project_name(workspace: &Workspace) -> String {
    workspace.recipe.project.name.as_str().to_owned()
}
