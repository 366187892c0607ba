//! `ibuild packages verify`: reads all packages again. What is damaged is removed, and fetched again when needed.

use std::process::ExitCode;

use ibuild::cache::Store;
use ibuild::{CheckFailed, Result};
use serde_json::json;

use super::super::cache::verify::{as_json, as_text};
use crate::cli::JsonArgs;
use crate::terminal::{print, print_json};

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let packages = store.packages().scrub()?;
    if args.json {
        print_json(json!({ "packages": as_json(&packages) }))?;
    } else {
        print(&as_text("packages", &packages))?;
    }
    match packages.damaged.len() {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(CheckFailed(format!("damaged packages were found and removed: {count}")).into()),
    }
}
