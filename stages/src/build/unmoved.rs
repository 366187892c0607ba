//! Whether a step that may install would make in this state of the archive what it made in another one.
//!
//! The state of the archive is in such a step's key, and moves with every update of the lock. What a step makes follows from
//! less: one that installs packages by their names from those packages, a script from what it asks the archive for. If that is
//! the same, an earlier result is this one's as well. It is found out when the step would run otherwise, so what runs for the
//! first time takes no longer, and a state of the archive is asked once.

use std::collections::BTreeSet;

use ibuild_cache::{ActionKey, Table};
use ibuild_graph::{Description, Equal, LastRun, StageId, Value};

use super::builder::{Builder, snapshots};
use super::evidence::Evidence;
use super::output::StageOutput;
use super::project::Job;
use super::{StageError, steps};
use crate::packages::{Asked, DebRef, PlannedDeb};
use crate::recipe::StageName;

/// The field of a description, and what in it is the archive's state.
const ARCHIVE: &str = "archive";
const ROOTS: &[u8] = b"roots";

/// An earlier action of the step, and how it came to its packages.
struct Candidate {
    key: ActionKey,
    evidence: Evidence,
}

/// Finds an earlier run of a step that this state of the archive would not have changed.
pub(super) fn find(
    builder: &Builder<'_>,
    stage: StageId,
    description: &Description,
    earlier: &[LastRun],
    inputs: &[&StageOutput],
) -> Result<Option<Equal>, StageError> {
    let Job::Step { name, step } = builder.project().job(stage) else { return Ok(None) };
    let candidates = candidates(builder, description, earlier)?;
    if candidates.is_empty() {
        return Ok(None);
    }
    let found = match steps::plan(builder, name, step, &snapshots(inputs))? {
        Some(plan) => with_packages(candidates, &plan),
        None => with_answers(builder, name, candidates)?,
    };
    let Some((Candidate { key, evidence }, why)) = found else { return Ok(None) };
    // With what an index would need that is made again from the results.
    let mut facts = builder.store().results().read(&key)?.unwrap_or_default();
    facts.retain(|table| matches!(table, Table::Trees | Table::Layers));
    Evidence::record(Some(evidence), &mut facts, &description.key());
    Ok(Some(Equal { key, why, facts }))
}

/// An action that would do, and what of it is the same.
type Found = Option<(Candidate, &'static str)>;

/// One that has installed what is planned now.
fn with_packages(candidates: Vec<Candidate>, plan: &BTreeSet<PlannedDeb>) -> Found {
    let planned = |debs: &[DebRef]| debs.iter().map(PlannedDeb::from).collect::<BTreeSet<_>>();
    let found = candidates.into_iter().find(|candidate| planned(&candidate.evidence.debs) == *plan);
    found.map(|candidate| (candidate, "but the packages are the same"))
}

/// One that would be answered now as it was.
fn with_answers(
    builder: &Builder<'_>,
    name: &StageName,
    candidates: Vec<Candidate>,
) -> Result<Found, StageError> {
    for candidate in candidates {
        let Some(asked) = &candidate.evidence.asked else { continue };
        if asked.is_empty() {
            return Ok(Some((candidate, "but it asks the archive for nothing")));
        }
        if is_answered_alike(builder, name, asked)? {
            return Ok(Some((candidate, "but what it asks the archive for is the same")));
        }
    }
    Ok(None)
}

fn is_answered_alike(builder: &Builder<'_>, name: &StageName, asked: &Asked) -> Result<bool, StageError> {
    let archives = builder.archives();
    let view = archives.view(builder.archives_of(name).all())?;
    Ok(asked.would_get_the_same(&view, archives.fetcher()?)?)
}

/// The actions of earlier runs that differ from this one by the archive's state alone, and of which enough is known.
fn candidates(
    builder: &Builder<'_>,
    description: &Description,
    earlier: &[LastRun],
) -> Result<Vec<Candidate>, StageError> {
    let mut found = Vec::<Candidate>::new();
    for run in earlier {
        let is_known = run.key == description.key() || found.iter().any(|other| other.key == run.key);
        let is_like = |before: Description| differ_in_state(&before, description);
        if is_known || !run.description().is_some_and(is_like) {
            continue;
        }
        let evidence = Evidence::find(builder.store(), &run.key)?;
        found.extend(evidence.map(|evidence| Candidate { key: run.key, evidence }));
    }
    Ok(found)
}

/// Whether nothing differs but in which state the suites of the archive are.
fn differ_in_state(before: &Description, now: &Description) -> bool {
    let (before, now) = (before.fields(), now.fields());
    before.len() == now.len()
        && before.iter().zip(now).all(|((name, before), (other, now))| {
            name == other && (before == now || (name == ARCHIVE && are_states_of_one(before, now)))
        })
}

fn are_states_of_one(before: &Value, now: &Value) -> bool {
    let (Value::Map(before), Value::Map(now)) = (before, now) else { return false };
    let same_suites = |before: &Value, now: &Value| match (before, now) {
        (Value::Map(before), Value::Map(now)) => before.keys().eq(now.keys()),
        _ => false,
    };
    before.len() == now.len()
        && before.iter().zip(now).all(|((name, before), (other, now))| {
            name == other && (before == now || (name == ROOTS && same_suites(before, now)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(packages: &str, suite: &str, state: u8) -> Description {
        let mut description = Description::new("packages", 1);
        let roots = Value::map([(suite, Value::Digest([state; 32]))]);
        description.set("packages", packages);
        description.set(ARCHIVE, Value::map([("components", Value::texts(["main"])), ("roots", roots)]));
        description
    }

    #[test]
    fn only_the_state_of_the_archive_may_differ() {
        let now = described("hello", "main trixie", 2);
        assert!(differ_in_state(&described("hello", "main trixie", 1), &now));
        assert!(!differ_in_state(&described("sl", "main trixie", 1), &now));
        assert!(!differ_in_state(&described("hello", "main sid", 1), &now));
        let mut more = described("hello", "main trixie", 1);
        more.set("env", "x");
        assert!(!differ_in_state(&more, &now));
        let mut other = described("hello", "main trixie", 2);
        other.set("env", "x");
        let mut another = described("hello", "main trixie", 1);
        another.set("volatile", "x");
        assert!(!differ_in_state(&another, &other));
    }
}
