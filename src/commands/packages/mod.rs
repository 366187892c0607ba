//! `ibuild packages`: what stages are made of, and what of it is in the store.

mod import;
mod ls;
mod sources;
mod stats;
mod verify;
mod why;

use std::process::ExitCode;

use ibuild::cache::Store;
use ibuild::stages::packages::{Lock, LockedDeb};
use ibuild::{LOCK_FILE, Result, Settings, UsageError, open_store};

use crate::cli::{Global, PackagesCommand};
use crate::invocation::project_dir;

pub fn run(global: &Global, command: &PackagesCommand) -> Result<ExitCode> {
    let store =
        || -> Result<Store> { open_store(global.cache_dir.as_deref(), &Settings::read(&project_dir()?)?) };
    match command {
        PackagesCommand::Ls(args) => ls::run(&store()?, &locked()?, args),
        PackagesCommand::Why { name } => why::run(&store()?, &locked()?, name),
        PackagesCommand::Sources(args) => sources::run(global, args),
        PackagesCommand::Import { dir } => import::run(&store()?, dir),
        PackagesCommand::Stats(args) => stats::run(&store()?, args),
        PackagesCommand::Verify(args) => verify::run(&store()?, args),
    }
}

/// The project's lock.
fn locked() -> Result<Lock> {
    let lock = Lock::read(&project_dir()?.join(LOCK_FILE))?;
    let missing =
        || UsageError::new(format!("there is no `{LOCK_FILE}` here")).hint("`ibuild build` writes it");
    Ok(lock.ok_or_else(missing)?)
}

/// Whether the store has a package.
fn is_here(store: &Store, locked: &LockedDeb) -> Result<bool> {
    Ok(store.packages().size(&locked.deb.sha256)? == Some(locked.deb.size))
}
