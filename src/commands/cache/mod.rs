//! `ibuild cache`: what stages have made and what it weighs. Most of it works without a recipe.

mod exchange;
mod fsck;
mod gc;
mod ls;
mod pin;
mod rm;
mod show;
mod stats;
pub mod verify;

use std::process::ExitCode;

use ibuild::cache::{FileLock, LockMode, Store};
use ibuild::{EnvironmentError, Result, Settings, open_store};

use super::inside::place_of_mount;
use crate::cli::{CacheCommand, Global};
use crate::invocation::project_dir;

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
        CacheCommand::Export(args) => exchange::export(global, args),
        CacheCommand::Import(args) => exchange::import(&store(global)?, global, args),
        CacheCommand::Rm { stage: Some(stage), .. } => rm::stage(global, stage),
        CacheCommand::Rm { stage: None, .. } => rm::all_stages(&store(global)?),
    }
}

/// The store that the directory's settings name, whether or not there is a recipe.
fn store(global: &Global) -> Result<Store> {
    open_store(global.cache_dir.as_deref(), &Settings::read(&project_dir()?)?)
}

/// Has the store alone, as what removes things must: what a running build uses must not go away under it.
fn take_alone(store: &Store, mode: LockMode) -> Result<FileLock> {
    let lock = store.take_alone(mode)?;
    // A build of an older version does not know the lock, but has a work directory.
    match (lock, store.worker()?) {
        (Some(lock), None) => Ok(lock),
        (_, worker) => {
            let mut users = FileLock::holders(&store.layout().gc_lock());
            users.retain(|pid| *pid != std::process::id());
            Err(in_use(worker, &users).into())
        }
    }
}

/// Who uses the store: a process that works, or else those that keep mounts, which do so until somebody ends them.
fn in_use(worker: Option<u32>, users: &[u32]) -> EnvironmentError {
    let (mounts, others): (Vec<_>, Vec<_>) =
        users.iter().map(|pid| (*pid, place_of_mount(*pid))).partition(|(_, place)| place.is_some());
    let places: Vec<_> =
        mounts.into_iter().filter_map(|(_, place)| place).map(|place| place.display().to_string()).collect();
    let worker = worker.or(others.first().map(|(pid, _)| *pid));
    if worker.is_none() && !places.is_empty() {
        let (verb, shown) = (
            if places.len() == 1 { "is" } else { "are" },
            places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>(),
        );
        let ends: Vec<_> = places.iter().map(|place| format!("`ibuild umount {place}`")).collect();
        return EnvironmentError {
            message: format!("{} {verb} mounted from this store", shown.join(" and ")),
            hint: format!("{} first", ends.join(" and ")),
        };
    }
    let who = worker.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    EnvironmentError {
        message: format!("{who} is building in this store, or looking into it"),
        hint: "try again when it is done; `ibuild cache gc --wait` waits for that".to_owned(),
    }
}
