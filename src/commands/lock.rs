//! `ibuild lock`: writes down what the project is built from, or looks whether the mirrors still have it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use ibuild::graph::{PlannedStage, StageId};
use ibuild::stages::debian::Timestamp;
use ibuild::stages::packages::{Lock, LockChange, LockedRelease, Staleness};
use ibuild::stages::{Observed, PackageChange, Project, StageError, StageExecutor, Unlocked};

use super::plan;
use crate::cli::{Global, LockArgs};
use crate::interrupt;
use crate::session::{How, Session, listed_stages};
use crate::terminal::print;
use crate::ui::{Mode, Ui, counted};

pub fn run(global: &Global, args: &LockArgs) -> Result<ExitCode> {
    let session = Session::open(global, &[])?;
    let (report, status) = with_archives(global, &session, |project, executor, ui| {
        if args.check { check(&session, executor) } else { write(&session, project, executor, ui) }
    })?;
    print(&report)?;
    Ok(status)
}

/// Has something to do with the archives of a project, and shows what they fetch meanwhile.
pub fn with_archives<T>(
    global: &Global,
    session: &Session,
    work: impl FnOnce(&Project<'_>, &StageExecutor<'_>, &Ui) -> Result<T>,
) -> Result<T> {
    let _shared = session.share_store(global)?;
    let project = Project::new(&session.recipe);
    let ui = Ui::new(if global.quiet { Mode::Quiet } else { Mode::Normal }, global, &project.graph);
    let observer = Arc::new(ui.clone());
    let cancel = interrupt::cancel_in_time()?;
    let executor = session.executor(&project, How::default(), cancel, observer.clone(), observer)?;
    let done = work(&project, &executor, &ui);
    ui.end();
    done
}

/// Locks what is not locked yet, and takes down the packages of every stage that is fresh.
fn write(
    session: &Session,
    project: &Project<'_>,
    executor: &StageExecutor<'_>,
    ui: &Ui,
) -> Result<(String, ExitCode)> {
    let before = executor.context().archives().lock()?;
    for name in session.recipe.archives.keys() {
        executor.context().archives().ensure_locked(name)?;
    }
    let planned = plan::with(session, project, executor, &listed_stages(project))?;
    let fresh: Vec<_> = planned.stages.iter().filter(|s| s.is_fresh()).map(|s| s.stage).collect();
    let observed = executor.context().observe(&fresh, &session.memory())?;
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

/// Says what a lock that there was before did not have. A first one has nothing that anybody would miss.
pub fn note_recorded(before: &Lock, after: &Lock, ui: &Ui) {
    recorded(before, after).iter().for_each(|note| ui.note("lock", note));
    note_clocks(&new_releases(before, after), Timestamp::now(), ui);
}

fn recorded(before: &Lock, after: &Lock) -> Vec<String> {
    if *before == Lock::default() {
        return Vec::new();
    }
    let note = |new: &LockedRelease| {
        let LockedRelease { archive, base, suite, date, .. } = new;
        match before.release(archive.as_str(), base, suite) {
            None => format!("`{archive} {suite}` was not locked; it is now, as the mirror has it, of {date}"),
            Some(LockedRelease { date: old, .. }) => format!(
                "`{archive} {suite}` moves from {old} to {date}: another suite of `{archive}` was not locked"
            ),
        }
    };
    new_releases(before, after).iter().map(note).collect()
}

/// The states that one lock has and the other has not.
fn new_releases(before: &Lock, after: &Lock) -> Vec<LockedRelease> {
    after.releases().iter().filter(|release| !before.releases().contains(release)).cloned().collect()
}

/// Says of states that are of the future that a clock is wrong.
pub fn note_clocks(releases: &[LockedRelease], now: Timestamp, ui: &Ui) {
    releases.iter().filter_map(|release| clock_note(release, now)).for_each(|note| ui.note("lock", &note));
}

fn clock_note(release: &LockedRelease, now: Timestamp) -> Option<String> {
    let LockedRelease { archive, suite, date, .. } = release;
    date.is_far_after(now).then(|| {
        format!("`{archive} {suite}` is of {date}, and here it is {now}: the clock of this machine, or of the archive, is wrong")
    })
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

fn check(session: &Session, executor: &StageExecutor<'_>) -> Result<(String, ExitCode)> {
    let (lock, now) = (executor.context().archives().lock()?, Timestamp::now());
    let (mut report, mut worst) = (String::new(), Standing::Same);
    for name in session.recipe.archives.keys() {
        if !lock.releases().iter().any(|release| release.archive.as_str() == name.as_str()) {
            return Err(StageError::NotLocked { archive: name.to_string() }.into());
        }
        // That what is locked has expired is said of the lock, whatever the mirror has.
        let outlook = executor.context().archives().outlook(name, &[Staleness::ExpiredAsLocked])?;
        for new in &outlook.releases {
            let old = lock.release(new.archive.as_str(), &new.base, &new.suite);
            let (standing, line) = standing(old, new, now);
            worst = worst.max(standing);
            report += &line;
        }
        for change in &outlook.packages {
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

/// After a build: the lock says what its stages were made of, or the build has failed.
pub fn settle(
    session: &Session,
    executor: &StageExecutor<'_>,
    stages: &[StageId],
    unlocked: Unlocked,
    ui: &Ui,
) -> Result<()> {
    let Observed { before, after, unknown } = executor.context().observe(stages, &session.memory())?;
    let changes = before.changes(&after);
    if unlocked == Unlocked::Refuse && !unknown.is_empty() {
        return Err(StageError::NotObserved { stages: unknown }.into());
    }
    if changes.is_empty() {
        return Ok(());
    }
    if unlocked == Unlocked::Refuse {
        return Err(StageError::LockDrift { changes }.into());
    }
    executor.context().archives().write_lock(after)?;
    ui.note("lock", &counts(&changes));
    Ok(())
}

/// How the lock differs from what it was, with the first few packages by name.
fn counts(changes: &[LockChange]) -> String {
    const SHOWN: usize = 3;
    let count = |is_it: fn(&LockChange) -> bool| changes.iter().filter(|change| is_it(change)).count();
    let added = count(|change| matches!(change, LockChange::Added(_)));
    let removed = count(|change| matches!(change, LockChange::Removed(_)));
    match (added, removed) {
        (0, 0) => "`ibuild.lock` says which other stages use the same packages".to_owned(),
        _ => {
            let is_package =
                |change: &&LockChange| matches!(change, LockChange::Added(_) | LockChange::Removed(_));
            let names: Vec<_> =
                changes.iter().filter(is_package).take(SHOWN).map(ToString::to_string).collect();
            let rest = if added + removed > SHOWN { ", ..." } else { "" };
            let packages = |number| counted(number, "package", "packages");
            let numbers = match (added, removed) {
                (added, 0) => format!("{} more", packages(added)),
                (0, removed) => format!("{} less", packages(removed)),
                (added, removed) => format!("{} more and {removed} less", packages(added)),
            };
            format!("`ibuild.lock` has {numbers}: {}{rest}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(digit: char, date: &str, until: &str) -> LockedRelease {
        let sha256 = digit.to_string().repeat(64);
        let text = format!("format 1\nrelease debian main trixie sha256:{sha256} 1 {date} {until}\n");
        Lock::parse(&text).unwrap().releases()[0].clone()
    }

    #[test]
    fn what_a_build_records_in_a_lock_is_noted() {
        let of = |suites: &[(&str, &str)]| {
            let line = |(suite, date): &(&str, &str)| {
                format!("release debian main {suite} sha256:{} 1 {date}T00:00:00Z\n", "1".repeat(64))
            };
            Lock::parse(&format!("format 1\n{}", suites.iter().map(line).collect::<String>())).unwrap()
        };
        let after = of(&[("a", "2026-09-13"), ("b", "2026-09-13")]);
        assert!(recorded(&Lock::default(), &after).is_empty() && recorded(&after, &after).is_empty());
        assert_eq!(
            recorded(&of(&[("a", "2026-09-12")]), &after),
            [
                "`debian a` moves from 2026-09-12T00:00:00Z to 2026-09-13T00:00:00Z: another suite of `debian` was not locked",
                "`debian b` was not locked; it is now, as the mirror has it, of 2026-09-13T00:00:00Z",
            ]
        );
    }

    #[test]
    fn states_of_the_future_are_noted() {
        let now = "2026-10-01T00:00:00Z".parse().unwrap();
        let note = |date: &str| clock_note(&release('1', date, ""), now);
        assert_eq!(note("2026-10-02T00:00:00Z"), None);
        let said = "`debian trixie` is of 2026-10-02T00:00:01Z, and here it is 2026-10-01T00:00:00Z: \
            the clock of this machine, or of the archive, is wrong";
        assert_eq!(note("2026-10-02T00:00:01Z").as_deref(), Some(said));
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
