//! What a build has to do with the lock.

use ibuild_graph::StageId;
use ibuild_stages::debian::Timestamp;
use ibuild_stages::packages::{Lock, LockChange, LockedRelease};
use ibuild_stages::{Observed, StageError, StageExecutor, Unlocked};

use super::{BuildObserver, Workspace};
use crate::error::Result;

/// Notes additions to an existing lock. A new lock needs no note.
pub(super) fn note_recorded(before: &Lock, after: &Lock, observer: &dyn BuildObserver) {
    recorded(before, after).iter().for_each(|note| observer.note("lock", note));
    note_clocks(&new_releases(before, after), Timestamp::now(), observer);
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
pub fn note_clocks(releases: &[LockedRelease], now: Timestamp, observer: &dyn BuildObserver) {
    releases
        .iter()
        .filter_map(|release| clock_note(release, now))
        .for_each(|note| observer.note("lock", &note));
}

fn clock_note(release: &LockedRelease, now: Timestamp) -> Option<String> {
    let LockedRelease { archive, suite, date, .. } = release;
    date.is_far_after(now).then(|| {
        format!("`{archive} {suite}` is of {date}, and here it is {now}: the clock of this machine, or of the archive, is wrong")
    })
}

/// After a build: the lock says what its stages were made of, or the build has failed.
pub(super) fn settle(
    workspace: &Workspace,
    executor: &StageExecutor<'_>,
    stages: &[StageId],
    unlocked: Unlocked,
    observer: &dyn BuildObserver,
) -> Result<()> {
    let Observed { before, after, unknown } = executor.context().observe(stages, &workspace.memory())?;
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
    observer.note("lock", &counts(&changes));
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
            let packages =
                |number: usize| format!("{number} {}", if number == 1 { "package" } else { "packages" });
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
}
