//! Whether a step that may install would make in this state of the archive what it made in another one.
//!
//! The state of the archive is in such a step's key, and moves with every update of the lock. What a step makes follows from
//! less: one that installs packages by their names from those packages, a script from what it asks the archive for. If that is
//! the same, an earlier result is this one's as well. It is found out when the step would run otherwise, so what runs for the
//! first time takes no longer, and a state of the archive is asked once.
//!
//! A key made of the packages alone would have to know them before the lookup, so every `plan` would have to run apt in
//! a sandbox. Instead the key has the archive's state, and a stage that would run because of that alone is compared
//! with its earlier runs: a `packages` step by what apt would install now, in which order and with what the indices say
//! of it (`packages/apt/plan.rs`), a script by the files that its requests stand for now. If one matches, its
//! result is stored under the present key as well. This assumes that no program of the image or of a package looked at
//! the archive's state: apt's configuration has no hooks, nobody but apt sent requests, and the indices are removed
//! before the first package is unpacked.

use std::collections::BTreeSet;

use ibuild_cache::{ActionKey, Table};
use ibuild_graph::{Description, EquivalentAction, LastRun, StageId, Value};

use crate::StageError;
use crate::executor::context::{StageContext, snapshots};
use crate::fields::{ARCHIVE, ROOTS};
use crate::output::StageOutput;
use crate::packages::{DebRef, Plan, PlannedDeb, RequestTrace};
use crate::packages_used::package_usage::PackageUsage;
use crate::project::Job;
use crate::recipe::StepPath;
use crate::steps;

/// An earlier action of the step, and how it came to its packages.
struct Candidate {
    key: ActionKey,
    evidence: PackageUsage,
}

/// Finds an earlier run of a step that this state of the archive would not have changed.
pub(crate) fn find(
    context: &StageContext<'_>,
    stage: StageId,
    description: &Description,
    earlier: &[LastRun],
    inputs: &[&StageOutput],
) -> Result<Option<EquivalentAction>, StageError> {
    let Job::Step { name, step } = context.project().job(stage) else { return Ok(None) };
    let candidates = candidates(context, description, earlier)?;
    if candidates.is_empty() {
        return Ok(None);
    }
    let found = match steps::plan(context, name, step, &snapshots(inputs))? {
        Some(plan) => with_packages(candidates, &plan),
        None => with_answers(context, name, candidates)?,
    };
    let Some((Candidate { key, evidence }, why)) = found else { return Ok(None) };
    // With what an index would need that is made again from the results.
    let mut facts = context.store().results().read(&key)?.unwrap_or_default();
    facts.retain(|table| matches!(table, Table::Trees | Table::Layers));
    PackageUsage::record(Some(evidence), &mut facts, &description.key());
    Ok(Some(EquivalentAction { key, why, facts }))
}

/// An action that would do, and what of it is the same.
type Found = Option<(Candidate, &'static str)>;

/// One that has installed what is planned now, as it is planned. Programs of these packages could ask the archive for its state
/// themselves; one of which that is not known to be otherwise will not do.
fn with_packages(candidates: Vec<Candidate>, plan: &Plan) -> Found {
    let planned = |debs: &[DebRef]| debs.iter().map(PlannedDeb::from).collect::<BTreeSet<_>>();
    let is_as_planned = |candidate: &Candidate| {
        let PackageUsage { debs, asked, course } = &candidate.evidence;
        let is_apts = plan.course.is_none() || asked.as_ref().is_some_and(RequestTrace::is_of_apt_alone);
        is_apts && planned(debs) == plan.debs && *course == plan.course
    };
    let found = candidates.into_iter().find(is_as_planned);
    found.map(|candidate| (candidate, "but the packages are the same"))
}

/// One that would be answered now as it was.
fn with_answers(
    context: &StageContext<'_>,
    name: &StepPath,
    candidates: Vec<Candidate>,
) -> Result<Found, StageError> {
    for candidate in candidates {
        let Some(asked) = &candidate.evidence.asked else { continue };
        if asked.is_empty() {
            return Ok(Some((candidate, "but it asks the archive for nothing")));
        }
        if is_answered_alike(context, name, asked)? {
            return Ok(Some((candidate, "but what it asks the archive for is the same")));
        }
    }
    Ok(None)
}

fn is_answered_alike(
    context: &StageContext<'_>,
    name: &StepPath,
    asked: &RequestTrace,
) -> Result<bool, StageError> {
    let archives = context.archives();
    let view = archives.view(context.archives_of(name).all())?;
    Ok(asked.would_get_the_same(&view, archives.fetcher()?)?)
}

/// The actions of earlier runs that differ from this one by the archive's state alone, and of which enough is known.
fn candidates(
    context: &StageContext<'_>,
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
        let evidence = PackageUsage::find(context.store(), &run.key)?;
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

/// Whether two descriptions of archives have nothing different but what the signed roots are: how the archives are declared,
/// in which order, and of which suites there are roots, is the same.
fn are_states_of_one(before: &Value, now: &Value) -> bool {
    maps_are_alike(before, now, |name, before, now| {
        before == now
            || (name == ROOTS.as_bytes()
                && maps_are_alike(before, now, |_, before, now| are_roots(before, now)))
    })
}

/// Whether two values are maps of the same names, and what these stand for is alike.
fn maps_are_alike(before: &Value, now: &Value, is_alike: impl Fn(&[u8], &Value, &Value) -> bool) -> bool {
    let (Value::Map(before), Value::Map(now)) = (before, now) else { return false };
    before.keys().eq(now.keys()) && before.iter().all(|(name, value)| is_alike(name, value, &now[name]))
}

/// Whether both are the roots of a suite, or there is none in both.
fn are_roots(before: &Value, now: &Value) -> bool {
    let (Value::List(before), Value::List(now)) = (before, now) else { return false };
    before.len() == now.len() && before.iter().chain(now).all(|root| matches!(root, Value::Digest(_)))
}

#[cfg(test)]
mod tests {
    use crate::fields::PARENT_TREE;
    use std::collections::BTreeMap;

    use super::*;
    use crate::packages::Course;

    fn described(packages: &str, suite: &str, state: u8) -> Description {
        let mut description = Description::new("packages", 1);
        let roots = Value::map([(suite, Value::List(vec![Value::Digest([state; 32])]))]);
        description.set("packages", packages);
        description.set(ARCHIVE, Value::map([("components", Value::texts(["main"])), (ROOTS, roots)]));
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
        assert!(!differ_in_state(&now, &more));
        assert!(!differ_in_state(&more, &now));
        let mut other = described("hello", "main trixie", 2);
        other.set("env", "x");
        let mut another = described("hello", "main trixie", 1);
        another.set("volatile", "x");
        assert!(!differ_in_state(&another, &other));
    }

    fn archive(change: impl FnOnce(&mut BTreeMap<&'static str, Value>)) -> Value {
        let root = |state: u8| Value::List(vec![Value::Digest([state; 32])]);
        let key = Value::map([("key", Value::Digest([7; 32]))]);
        let mut fields = BTreeMap::from([
            ("order", Value::texts(["debian", "vendor"])),
            (
                "declared",
                Value::map([("debian", Value::texts(["trixie", "trixie-updates"])), ("vendor", key)]),
            ),
            ("roots", Value::map([("main trixie", root(1)), ("main trixie-updates", root(2))])),
        ]);
        change(&mut fields);
        Value::map(fields)
    }

    /// Everything else of an archive decides what apt does as well: the first of several has what both have.
    #[test]
    fn the_declaration_and_the_order_of_archives_may_not_differ() {
        let root = |state: u8| Value::List(vec![Value::Digest([state; 32])]);
        let differs = |change: &dyn Fn(&mut BTreeMap<&'static str, Value>)| {
            !are_states_of_one(&archive(|_| {}), &archive(change))
        };
        let set = |name: &'static str, value: Value| {
            move |fields: &mut BTreeMap<_, _>| drop(fields.insert(name, value.clone()))
        };
        let roots = |roots: Vec<(&str, Value)>| set("roots", Value::map(roots));
        assert!(!differs(&roots(vec![("main trixie", root(3)), ("main trixie-updates", root(4))])));
        assert!(differs(&set("order", Value::texts(["vendor", "debian"]))));
        let key = |key: u8| Value::map([("key", Value::Digest([key; 32]))]);
        let declared = |suites: [&str; 2], with: Value| {
            set("declared", Value::map([("debian", Value::texts(suites)), ("vendor", with)]))
        };
        assert!(!differs(&declared(["trixie", "trixie-updates"], key(7))));
        // An archive may be called as the field is.
        let named = |digest: u8| {
            let declared = Value::map([("roots", key(digest))]);
            archive(|fields| drop(fields.insert("declared", declared)))
        };
        assert!(are_states_of_one(&named(7), &named(7)));
        assert!(!are_states_of_one(&named(7), &named(8)));
        assert!(differs(&declared(["trixie-updates", "trixie"], key(7))));
        assert!(differs(&declared(["trixie", "trixie-updates"], key(8))), "a digest, but not of a root");
        assert!(differs(&roots(vec![("main trixie", root(1))])));
        assert!(differs(&roots(vec![("main trixie", root(1)), ("main sid", root(2))])));
        assert!(differs(&roots(vec![
            ("main trixie", root(1)),
            ("main trixie-updates", Value::List(Vec::new()))
        ])));
        assert!(differs(&roots(vec![("main trixie", root(1)), ("main trixie-updates", "locked".into())])));
        assert!(differs(&|fields: &mut BTreeMap<_, _>| drop(fields.remove("order"))));
    }

    /// A digest outside of the archives' roots is something else.
    #[test]
    fn no_digest_of_another_field_may_differ() {
        let with_parent = |parent: u8| {
            let mut description = described("hello", "main trixie", 1);
            description.set(PARENT_TREE, Value::Digest([parent; 32]));
            description.set("roots", Value::map([("x", Value::Digest([parent; 32]))]));
            description
        };
        assert!(differ_in_state(&with_parent(1), &with_parent(1)));
        assert!(!differ_in_state(&with_parent(1), &with_parent(2)));
    }

    #[test]
    fn packages_that_would_be_installed_in_another_way_are_not_the_same() {
        let course =
            |section: &str| Course::of("Inst h (1 x [all])\n", &format!("Package: h\nSection: {section}\n"));
        let found = |then: Option<Course>, now: Option<Course>| {
            let evidence = PackageUsage {
                course: then,
                asked: Some(RequestTrace::default()),
                ..PackageUsage::default()
            };
            let candidate = Candidate { key: described("h", "main trixie", 1).key(), evidence };
            with_packages(vec![candidate], &Plan { debs: BTreeSet::new(), course: now }).is_some()
        };
        assert!(course("misc").is_some() && found(course("misc"), course("misc")));
        assert!(!found(course("metapackages"), course("misc")), "what it needs is marked in another way");
        assert!(!found(None, course("misc")), "an earlier version did not ask");
        assert!(found(None, None), "no apt installs a bootstrap");
    }

    #[test]
    fn packages_whose_programs_may_have_asked_are_not_the_same() {
        let course = Course::of("", "");
        let found = |asked: Option<RequestTrace>, course: Option<Course>| {
            let evidence = PackageUsage { course: course.clone(), asked, ..PackageUsage::default() };
            let candidate = Candidate { key: described("h", "main trixie", 1).key(), evidence };
            with_packages(vec![candidate], &Plan { debs: BTreeSet::new(), course }).is_some()
        };
        assert!(found(Some(RequestTrace::default()), course.clone()));
        assert!(!found(None, course), "something was refused, or an earlier version did not look");
        assert!(found(None, None), "what a bootstrap asks for is known ahead");
    }
}
