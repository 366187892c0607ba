//! `ibuild cache rm`: forgets what stages made. It is made again when it is needed.

use std::process::ExitCode;

use ibuild::cache::{LockMode, Store};
use ibuild::graph::RememberedStage;
use ibuild::stages::{Forgotten, Project, forget_everything, forget_stage};
use ibuild::{Result, UsageError, Workspace};

use super::take_alone;
use crate::cli::Global;
use crate::invocation;
use crate::terminal::print;
use crate::ui::{bytes, counted};

pub fn stage(global: &Global, text: &str) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let _alone = take_alone(&workspace.store, LockMode::Try)?;
    let found = find(&workspace, text)?;
    tell(forget_stage(&workspace.store, &found)?)
}

pub fn all_stages(store: &Store) -> Result<ExitCode> {
    let _alone = take_alone(store, LockMode::Try)?;
    tell(forget_everything(store)?)
}

/// A stage by the name under which it is remembered, even one that the recipe no longer has.
fn find(workspace: &Workspace, text: &str) -> Result<RememberedStage> {
    let of_project = |stage: &RememberedStage| stage.project == workspace.recipe.project.name.as_str();
    let stages: Vec<_> = RememberedStage::all(&workspace.store)?.into_iter().filter(of_project).collect();
    let named = |name: &str| stages.iter().find(|stage| stage.stage.as_str() == name).cloned();
    if let Some(found) = named(text) {
        return Ok(found);
    }
    let project = Project::new(&workspace.recipe);
    let name = project.graph.name(workspace.find_stage(text)?);
    let unknown =
        || UsageError::new(format!("nothing is remembered of `{name}`")).hint("see `ibuild cache ls`");
    Ok(named(name.as_str()).ok_or_else(unknown)?)
}

fn tell(gone: Forgotten) -> Result<ExitCode> {
    let Forgotten { stages, layers, artifacts, bytes: freed } = gone;
    let stages = counted(stages, "stage", "stages");
    let layers = counted(layers, "layer", "layers");
    let artifacts = counted(artifacts, "artifact", "artifacts");
    print(&format!("forgot {stages}, removed {layers} and {artifacts}, freed {}\n", bytes(freed)))?;
    Ok(ExitCode::SUCCESS)
}
