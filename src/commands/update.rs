//! `ibuild update`: moves the lock to what the mirrors have now.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use ibuild::stages::build::{Project, StageError};
use ibuild::stages::packages::{Lock, LockedRelease};
use ibuild::stages::recipe::{ArchiveName, Recipe, suggest};

use crate::cli::{Global, UpdateArgs};
use crate::failure::UsageError;
use crate::interrupt;
use crate::session::{How, Session};
use crate::terminal::print;
use crate::ui::{Mode, Ui};

pub fn run(global: &Global, args: &UpdateArgs) -> Result<ExitCode> {
    let session = Session::open(global, &[])?;
    let _shared = session.share_store()?;
    let project = Project::new(&session.recipe);
    let names = chosen(&session.recipe, &args.archives)?;
    let ui = Ui::new(if global.quiet { Mode::Quiet } else { Mode::Normal }, &project.graph);
    let observer = Arc::new(ui.clone());
    let cancel = interrupt::cancel_on_signals()?;
    let builder = session.builder(&project, How::default(), cancel, observer.clone(), observer)?;
    let before = read_lock(&session)?;
    let updated = names.iter().try_for_each(|name| builder.archives().update(name, &args.tolerated()));
    ui.end();
    // What was updated before something failed is in the lock, and is told.
    print(&report(&names, &before, &read_lock(&session)?))?;
    updated?;
    Ok(ExitCode::SUCCESS)
}

fn read_lock(session: &Session) -> Result<Lock, StageError> {
    Ok(Lock::read(&session.lock_path())?.unwrap_or_default())
}

fn chosen<'r>(recipe: &'r Recipe, wanted: &[String]) -> Result<Vec<&'r ArchiveName>> {
    if wanted.is_empty() {
        return Ok(recipe.archives.keys().collect());
    }
    let find = |text: &String| {
        let found = recipe.archives.get_key_value(text.as_str()).map(|(name, _)| name);
        found.ok_or_else(|| unknown(recipe, text).into())
    };
    wanted.iter().map(find).collect()
}

fn unknown(recipe: &Recipe, text: &str) -> UsageError {
    let known = recipe.archives.keys().map(ArchiveName::as_str);
    let hint = suggest::hint(text, known).unwrap_or_else(|| "see `[archive.NAME]` in the recipe".to_owned());
    UsageError::new(format!("there is no archive `{text}`")).hint(hint)
}

/// A line for each suite of the archives.
fn report(names: &[&ArchiveName], before: &Lock, after: &Lock) -> String {
    let of_archive =
        |release: &&LockedRelease| names.iter().any(|name| name.as_str() == release.archive.as_str());
    let line = |new: &LockedRelease| {
        let old = before.release(new.archive.as_str(), new.base, &new.suite);
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
