//! Whether a step that installs packages would install those that it installed before.
//!
//! The state of the archive is in such a step's key, and moves with every update of the lock. What the step makes follows from
//! the packages alone: if they are the same, an earlier result is this one's as well. That is found out when the step would
//! run otherwise, so what runs for the first time takes no longer, and a state of the archive is asked once.

use std::collections::BTreeSet;

use ibuild_cache::ActionKey;
use ibuild_graph::{Description, Equal, LastRun, StageId, Value};

use super::builder::{Builder, snapshots};
use super::evidence::{self, used_by};
use super::output::StageOutput;
use super::project::Job;
use super::{StageError, steps};
use crate::packages::{DebRef, PlannedDeb};

/// The field of a description, and what in it is the archive's state.
const ARCHIVE: &str = "archive";
const ROOTS: &[u8] = b"roots";

/// An earlier action of the step, and what it installed.
struct Candidate {
    key: ActionKey,
    debs: Vec<DebRef>,
}

/// Finds an earlier run of a step that installed what it would install now.
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
    let Some(plan) = steps::plan(builder, name, step, &snapshots(inputs))? else { return Ok(None) };
    let is_planned =
        |candidate: &Candidate| candidate.debs.iter().map(PlannedDeb::from).collect::<BTreeSet<_>>() == plan;
    let Some(Candidate { key, debs }) = candidates.into_iter().find(is_planned) else { return Ok(None) };
    // With what an index would need that is made again from the results.
    let mut facts = builder.store().results().read(&key)?.unwrap_or_default();
    evidence::put(&mut facts, &description.key(), debs);
    Ok(Some(Equal { key, why: "but the packages are the same", facts }))
}

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
        let debs = used_by(builder.store(), &run.key)?;
        found.extend(debs.map(|debs| Candidate { key: run.key, debs }));
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
