//! `ibuild packages stats`: what the store has of archives, and what the project needs of it.

use std::process::ExitCode;

use ibuild::cache::Store;
use ibuild::stages::packages::Lock;
use ibuild::{LOCK_FILE, Result};
use serde_json::json;

use super::is_here;
use crate::cli::JsonArgs;
use crate::invocation::project_dir;
use crate::terminal::{print, print_json};
use crate::ui::bytes;

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let stored = store.packages().list()?;
    let size: u64 = stored.iter().map(|stored| stored.size).sum();
    let lock = Lock::read(&project_dir()?.join(LOCK_FILE))?.unwrap_or_default();
    let (mut locked, mut locked_size, mut missing) = (0, 0, 0);
    for (deb, _) in lock.debs() {
        locked += 1;
        locked_size += deb.deb.size;
        missing += u64::from(!is_here(store, deb)?);
    }
    if args.json {
        print_json(json!({
            "stored": { "count": stored.len(), "size": size },
            "locked": { "count": locked, "size": locked_size, "missing": missing },
        }))?;
    } else {
        let stored = format!("stored: {} files of archives, {}\n", stored.len(), bytes(size));
        let locked =
            format!("locked: {locked} packages, {}, {missing} not in the store\n", bytes(locked_size));
        print(&(stored + &locked))?;
    }
    Ok(ExitCode::SUCCESS)
}
