//! `ibuild cache`: what stages have made and what it weighs. Most of it works without a recipe.

mod fsck;
mod gc;
mod ls;
mod pin;
mod rm;
mod show;
mod stats;
pub mod verify;

use std::process::ExitCode;

use anyhow::Result;
use ibuild::cache::{FileLock, LockMode, Store};

use crate::cli::{CacheCommand, Global};
use crate::failure::EnvironmentError;
use crate::session::{open_store, project_dir};
use crate::settings::Settings;

pub fn run(global: &Global, command: &CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Ls(args) => ls::run(&store(global)?, args),
        CacheCommand::Show(args) => show::run(global, args),
        CacheCommand::Stats(args) => stats::run(&store(global)?, args),
        CacheCommand::Verify(args) => verify::run(&store(global)?, args),
        CacheCommand::Fsck(args) => fsck::run(&store(global)?, args),
        CacheCommand::Gc(args) => gc::run(global, args),
        CacheCommand::Pin(args) => pin::set(global, args),
        CacheCommand::Unpin(args) => pin::remove(global, args),
        CacheCommand::Rm { stage: Some(stage), .. } => rm::stage(global, stage),
        CacheCommand::Rm { stage: None, .. } => rm::all_stages(&store(global)?),
    }
}

/// The store that the directory's settings name, whether or not there is a recipe.
fn store(global: &Global) -> Result<Store> {
    open_store(global, &Settings::read(&project_dir()?)?)
}

/// Has the store alone, as what removes things must: what a running build uses must not go away under it.
fn take_alone(store: &Store, mode: LockMode) -> Result<FileLock> {
    let lock = store.take_alone(mode)?;
    // A build of an older version does not know the lock, but has a work directory.
    match (lock, store.worker()?) {
        (Some(lock), None) => Ok(lock),
        (_, worker) => Err(in_use(worker).into()),
    }
}

fn in_use(worker: Option<u32>) -> EnvironmentError {
    let who = worker.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    EnvironmentError {
        message: format!("{who} is building in this store, or looking into it"),
        hint: "try again when it is done".to_owned(),
    }
}
