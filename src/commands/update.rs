//! `ibuild update`: moves the lock to what the mirrors have now.

use std::process::ExitCode;

use ibuild::stages::PackageChange;
use ibuild::stages::debian::Timestamp;
use ibuild::stages::packages::{Lock, LockedRelease};
use ibuild::stages::recipe::{ArchiveName, Recipe, suggest};
use ibuild::{Result, UsageError, note_clocks};

use super::lock::{package_line, with_archives};
use crate::cli::{Global, UpdateArgs};
use crate::invocation;
use crate::terminal::print;

pub fn run(global: &Global, args: &UpdateArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let mut text = String::new();
    let updated = with_archives(global, &workspace, |_, executor, ui| {
        let before = executor.context().archives().lock()?;
        let wanted = Wanted::of(&workspace.recipe, &before, &args.names)?;
        for name in &wanted.archives {
            let update = executor.context().archives().lock_update(name, &args.tolerated())?;
            if wanted.packages.is_empty() || update.packages.iter().any(|c| wanted.wants(c)) {
                executor.context().archives().adopt(name, &update)?;
                text += &report(&[name], &before, &executor.context().archives().lock()?);
                text.extend(update.packages.iter().map(package_line));
            } else {
                text += &format!("{name}  stays: {} would be the same\n", list(&wanted.packages));
            }
        }
        note_clocks(executor.context().archives().lock()?.releases(), Timestamp::now(), ui);
        Ok(())
    });
    // What was updated before something failed is in the lock, and is told.
    print(&text)?;
    updated?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be updated.
struct Wanted<'r> {
    archives: Vec<&'r ArchiveName>,
    packages: Vec<&'r str>,
}

impl<'r> Wanted<'r> {
    fn of(recipe: &'r Recipe, lock: &Lock, names: &'r [String]) -> Result<Self> {
        let (mut archives, mut packages) = (Vec::new(), Vec::new());
        for text in names {
            if let Some((name, _)) = recipe.archives.get_key_value(text.as_str()) {
                archives.push(name);
            } else if lock.debs().any(|(locked, _)| locked.deb.name.as_str() == text) {
                packages.push(text.as_str());
            } else {
                return Err(unknown(recipe, lock, text).into());
            }
        }
        if archives.is_empty() {
            archives.extend(recipe.archives.keys());
        }
        Ok(Self { archives, packages })
    }

    fn wants(&self, change: &PackageChange) -> bool {
        self.packages.contains(&change.old.deb.name.as_str())
    }
}

fn unknown(recipe: &Recipe, lock: &Lock, text: &str) -> UsageError {
    let archives = recipe.archives.keys().map(ArchiveName::as_str);
    let known = archives.chain(lock.debs().map(|(locked, _)| locked.deb.name.as_str()));
    let hint = suggest::hint(text, known)
        .unwrap_or_else(|| "see `[archive.NAME]` in the recipe, and `ibuild.lock`".to_owned());
    UsageError::new(format!("there is no archive or locked package `{text}`")).hint(hint)
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A line for each suite of the archives.
fn report(names: &[&ArchiveName], before: &Lock, after: &Lock) -> String {
    let of_archive =
        |release: &&LockedRelease| names.iter().any(|name| name.as_str() == release.archive.as_str());
    let line = |new: &LockedRelease| {
        let old = before.release(new.archive.as_str(), &new.base, &new.suite);
        let change = match old {
            None => format!("new, of {}", new.date),
            Some(old) if old.inrelease == new.inrelease => format!("{} unchanged", new.date),
            Some(old) => format!("{} -> {}", old.date, new.date),
        };
        format!("{}  {}  {change}\n", new.archive, new.suite)
    };
    after.releases().iter().filter(of_archive).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(date: &str, digit: char) -> Lock {
        let sha256 = digit.to_string().repeat(64);
        let text = format!("format 1\nrelease debian main trixie sha256:{sha256} 1 {date}\n");
        Lock::parse(&text).unwrap()
    }

    #[track_caller]
    fn check(before: &Lock, expected: &str) {
        let after = lock("2026-09-12T07:55:41Z", '1');
        let debian = "debian".parse().unwrap();
        assert_eq!(report(&[&debian], before, &after), expected);
    }

    #[test]
    fn old_and_new_dates() {
        check(&Lock::default(), "debian  trixie  new, of 2026-09-12T07:55:41Z\n");
        check(&lock("2026-09-12T07:55:41Z", '1'), "debian  trixie  2026-09-12T07:55:41Z unchanged\n");
        check(
            &lock("2026-07-01T00:00:00Z", '2'),
            "debian  trixie  2026-07-01T00:00:00Z -> 2026-09-12T07:55:41Z\n",
        );
    }
}
