//! `ibuild packages why`: which stages use a package, and what there needs it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ibuild::cache::Store;
use ibuild::stages::debian::needs;
use ibuild::stages::packages::{Lock, LockedDeb, PackageError};
use ibuild::stages::recipe::suggest;
use ibuild::{Result, UsageError};

use super::is_here;
use crate::terminal::print;

pub fn run(store: &Store, lock: &Lock, name: &str) -> Result<ExitCode> {
    let mut text = String::new();
    for (locked, stages) in lock.debs().filter(|(locked, _)| locked.deb.name.as_str() == name) {
        text += &head(store, locked)?;
        for stage in stages {
            let needed = match needed_by(store, lock, stage, name)? {
                by if by.is_empty() => "nothing else there needs it".to_owned(),
                by => format!("needed by {}", by.into_iter().collect::<Vec<_>>().join(", ")),
            };
            text += &format!("  {stage}  {needed}\n");
        }
    }
    if text.is_empty() {
        return Err(unknown(lock, name).into());
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn head(store: &Store, locked: &LockedDeb) -> Result<String> {
    let deb = &locked.deb;
    let place = if is_here(store, locked)? { "in the store" } else { "not in the store" };
    let file = format!("{} {}, {place}\n  {}", locked.archive, deb.path, deb.sha256);
    Ok(format!("{} {} {}\n  {file}\n", deb.name, deb.version, deb.architecture))
}

/// The packages of a stage that name it, as far as they are in the store.
fn needed_by(store: &Store, lock: &Lock, stage: &str, name: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (locked, stages) in lock.debs() {
        if stages.contains(stage) && is_here(store, locked)? {
            let path = store.packages().path(&locked.deb.sha256);
            if needs(&path).map_err(PackageError::from)?.contains(name) {
                found.insert(locked.deb.name.to_string());
            }
        }
    }
    Ok(found)
}

fn unknown(lock: &Lock, name: &str) -> UsageError {
    let hint = suggest::hint(name, lock.debs().map(|(locked, _)| locked.deb.name.as_str()));
    let hint = hint.unwrap_or_else(|| "`ibuild packages ls` lists those that stages have used".to_owned());
    UsageError::new(format!("no stage uses a package `{name}`")).hint(hint)
}
