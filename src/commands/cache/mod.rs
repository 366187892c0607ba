//! `ibuild cache`: what stages have made and what it weighs. Most of it works without a recipe.

mod ls;
mod rm;
mod show;
mod stats;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use ibuild::cache::Store;

use crate::cli::{CacheCommand, Global};
use crate::session::{open_store, project_dir};
use crate::settings::Settings;

pub fn run(global: &Global, command: &CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Ls(args) => ls::run(&store(global)?, args),
        CacheCommand::Show(args) => show::run(global, args),
        CacheCommand::Stats(args) => stats::run(&store(global)?, args),
        CacheCommand::Verify(args) => verify::run(&store(global)?, args),
        CacheCommand::Rm { stage: Some(stage), .. } => rm::stage(global, stage),
        CacheCommand::Rm { stage: None, .. } => rm::all_stages(&store(global)?),
    }
}

/// The store that the directory's settings name, whether or not there is a recipe.
fn store(global: &Global) -> Result<Store> {
    open_store(global, &Settings::read(&project_dir(global)?)?)
}
