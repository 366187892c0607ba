//! `ibuild lock`: writes down what the project is built from, or looks whether the mirrors still have it.

use std::process::ExitCode;
use std::sync::Arc;

use ibuild::graph::PlannedStage;
use ibuild::stages::debian::Timestamp;
use ibuild::stages::packages::{LockedRelease, Staleness};
use ibuild::stages::{PackageChange, Project, StageError, StageExecutor};
use ibuild::{BuildObserver, Error, ExecutionOptions, Result, Workspace, listed_stages, note_clocks};

use crate::cli::{Global, LockArgs};
use crate::interrupt;
use crate::invocation;
use crate::terminal::print;
use crate::ui::{Mode, Ui, counted};

pub fn run(global: &Global, args: &LockArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let (report, status) = with_archives(global, &workspace, |project, executor, ui| {
        if args.check { check(&workspace, executor) } else { write(&workspace, project, executor, ui) }
    })?;
    print(&report)?;
    Ok(status)
}

/// Has something to do with the archives of a project, and shows what they fetch meanwhile.
pub fn with_archives<T>(
    global: &Global,
    workspace: &Workspace,
    work: impl FnOnce(&Project<'_>, &StageExecutor<'_>, &Ui) -> Result<T>,
) -> Result<T> {
    let _shared = invocation::share_store(global, workspace)?;
    let project = Project::new(&workspace.recipe);
    let ui = Ui::new(if global.quiet { Mode::Quiet } else { Mode::Normal }, global, &project.graph);
    let observer = Arc::new(ui.clone());
    let cancel = interrupt::cancel_in_time()?;
    let executor = workspace.executor(
        &project,
        &ExecutionOptions { cancel, ..ExecutionOptions::default() },
        observer.clone(),
        observer,
    )?;
    let done = work(&project, &executor, &ui);
    ui.end();
    done
}

/// Locks what is not locked yet, and takes down the packages of every stage that is fresh.
fn write(
    workspace: &Workspace,
    project: &Project<'_>,
    executor: &StageExecutor<'_>,
    ui: &Ui,
) -> Result<(String, ExitCode)> {
    let before = executor.context().archives().lock()?;
    for name in workspace.recipe.archives.keys() {
        executor.context().archives().ensure_locked(name)?;
    }
    let planned = workspace.plan_with(executor, &listed_stages(project))?;
    let fresh: Vec<_> = planned.stages.iter().filter(|s| s.is_fresh()).map(|s| s.stage).collect();
    let observed = executor.context().observe(&fresh, &workspace.memory())?;
    if observed.after != observed.before {
        executor.context().archives().write_lock(observed.after.clone())?;
    }
    let waiting = planned.stages.iter().filter(|stage| !PlannedStage::is_fresh(stage)).count();
    if waiting > 0 {
        let waiting = counted(waiting, "stage is", "stages are");
        ui.note("lock", &format!("{waiting} not built: a build adds what is installed there"));
    }
    if !observed.unknown.is_empty() {
        ui.note("lock", &format!("it is not known what these installed: {}", observed.unknown.join(", ")));
    }
    note_clocks(observed.after.releases(), Timestamp::now(), ui);
    let changes = before.changes(&observed.after);
    let mut report: String = changes.iter().map(|change| format!("{change}\n")).collect();
    let (suites, debs) = (observed.after.releases().len(), observed.after.debs().count());
    let (suites, debs) = (counted(suites, "suite", "suites"), counted(debs, "package", "packages"));
    report += &format!("locked: {suites}, {debs}\n");
    Ok((report, ExitCode::SUCCESS))
}

/// How the lock stands to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The mirrors have what is locked.
    Same = 0,
    /// They have another state, with the same packages.
    Moved = 10,
    /// Locked packages have other versions.
    Changed = 20,
    /// The locked state is past its time.
    Stale = 30,
}

fn check(workspace: &Workspace, executor: &StageExecutor<'_>) -> Result<(String, ExitCode)> {
    let (lock, now) = (executor.context().archives().lock()?, Timestamp::now());
    let (mut report, mut worst) = (String::new(), Standing::Same);
    for name in workspace.recipe.archives.keys() {
        if !lock.releases().iter().any(|release| release.archive.as_str() == name.as_str()) {
            let error = Error::from(StageError::NotLocked { archive: name.to_string() });
            return Err(error.with_hint("`ibuild lock` writes down what the mirrors have now"));
        }
        // That what is locked has expired is said of the lock, whatever the mirror has.
        let update = executor.context().archives().lock_update(name, &[Staleness::ExpiredAsLocked])?;
        for new in &update.releases {
            let old = lock.release(new.archive.as_str(), &new.base, &new.suite);
            let (standing, line) = standing(old, new, now);
            worst = worst.max(standing);
            report += &line;
        }
        for change in &update.packages {
            worst = worst.max(Standing::Changed);
            report += &package_line(change);
        }
    }
    Ok((report, ExitCode::from(worst as u8)))
}

fn standing(old: Option<&LockedRelease>, new: &LockedRelease, now: Timestamp) -> (Standing, String) {
    let suite = format!("{}  {}", new.archive, new.suite);
    let Some(old) = old else {
        return (Standing::Changed, format!("{suite}  not locked; the mirror has {}\n", new.date));
    };
    let moved = if old.inrelease == new.inrelease { Standing::Same } else { Standing::Moved };
    let dates = match moved {
        Standing::Same => format!("{} unchanged", old.date),
        _ => format!("{} -> {}", old.date, new.date),
    };
    match old.valid_until.filter(|until| *until < now) {
        Some(until) => (Standing::Stale, format!("{suite}  {dates}; what is locked expired on {until}\n")),
        None => (moved, format!("{suite}  {dates}\n")),
    }
}

/// A line for a package that changes.
pub fn package_line(change: &PackageChange) -> String {
    let old = &change.old.deb;
    match &change.new {
        Some(new) if new.version == old.version => {
            format!("{} {}  {} built again\n", old.name, old.architecture, old.version)
        }
        Some(new) => format!("{} {}  {} -> {}\n", old.name, old.architecture, old.version, new.version),
        None => format!("{} {}  {} is gone\n", old.name, old.architecture, old.version),
    }
}

#[cfg(test)]
mod tests {
    use ibuild::stages::packages::Lock;

    use super::*;

    fn release(digit: char, date: &str, until: &str) -> LockedRelease {
        let sha256 = digit.to_string().repeat(64);
        let text = format!("format 1\nrelease debian main trixie sha256:{sha256} 1 {date} {until}\n");
        Lock::parse(&text).unwrap().releases()[0].clone()
    }

    #[test]
    fn standings() {
        let now = "2026-10-01T00:00:00Z".parse().unwrap();
        let old = release('1', "2026-09-12T00:00:00Z", "2026-10-02T00:00:00Z");
        let new = release('2', "2026-09-13T00:00:00Z", "");
        let stale = release('1', "2026-09-12T00:00:00Z", "2026-09-30T00:00:00Z");
        let check = |old: Option<&LockedRelease>, new: &LockedRelease, expected: Standing, text: &str| {
            assert_eq!(standing(old, new, now), (expected, format!("debian  trixie  {text}\n")));
        };
        check(Some(&old), &old, Standing::Same, "2026-09-12T00:00:00Z unchanged");
        check(Some(&old), &new, Standing::Moved, "2026-09-12T00:00:00Z -> 2026-09-13T00:00:00Z");
        check(None, &new, Standing::Changed, "not locked; the mirror has 2026-09-13T00:00:00Z");
        let expired = "2026-09-12T00:00:00Z unchanged; what is locked expired on 2026-09-30T00:00:00Z";
        check(Some(&stale), &stale, Standing::Stale, expired);
    }
}
