//! Targets, put into their places.

use std::path::PathBuf;

use ibuild_cache::Store;
use ibuild_graph::{BuildReport, Outcome, StageId};
use ibuild_stages::snapshot::Snapshot;
use ibuild_stages::{
    Artifact, PendingArtifacts, Project, StageError, StageExecutor, Target, Wanted, publish,
};

use super::{BuildObserver, BuiltTarget};
use crate::error::{Error, Result};

/// The report of a build with the executor of this crate.
pub(super) type StageReports = BuildReport<StageExecutor<'static>>;

/// A target in its place.
pub(super) struct InPlace<'t> {
    target: &'t Target,
    stage: StageId,
    artifact: Artifact,
    pub(super) path: PathBuf,
}

/// The targets in their places, up to the first that could not get there.
pub(super) struct Placed<'t> {
    pub(super) in_place: Vec<InPlace<'t>>,
    pub(super) failed: Option<Error>,
}

impl Placed<'_> {
    /// Tells of each target in its place.
    pub(super) fn tell(&self, project: &Project<'_>, report: &StageReports, observer: &dyn BuildObserver) {
        for InPlace { target, stage, artifact, path } in &self.in_place {
            let needed = project.graph.needed_for(&[*stage]);
            let count = |wanted: fn(&Outcome) -> bool| {
                report.stages.iter().filter(|s| needed.contains(&s.stage) && wanted(&s.outcome)).count()
            };
            let ran = count(|outcome| matches!(outcome, Outcome::Ran { .. }));
            let cached = count(|outcome| *outcome == Outcome::Hit);
            observer.built(BuiltTarget { target, artifact, path, ran, cached });
            if let Some(text) = waived(project, &needed) {
                observer.note(&target.to_string(), &text);
            }
        }
    }
}

/// Puts what a build made into the place of targets.
pub(super) struct Publication<'a> {
    pub(super) store: &'a Store,
    pub(super) project: &'a Project<'a>,
    pub(super) finished: &'a PendingArtifacts,
    pub(super) dir: PathBuf,
}

impl Publication<'_> {
    /// Puts every target that was made into its place.
    pub(super) fn publish<'t>(&self, targets: &'t [Target], report: &StageReports) -> Placed<'t> {
        let mut placed = Placed { in_place: Vec::new(), failed: None };
        for target in targets {
            match self.publish_one(target, report) {
                Ok(in_place) => placed.in_place.extend(in_place),
                Err(error) => {
                    placed.failed = Some(error);
                    break;
                }
            }
        }
        placed
    }

    /// Puts a target into its place, if it was made.
    fn publish_one<'t>(&self, target: &'t Target, report: &StageReports) -> Result<Option<InPlace<'t>>> {
        let stage = self.project.target_stage(target).expect("it was found before");
        let Some(output) = report.outputs.get(&stage) else { return Ok(None) };
        let Some(artifact) = output.artifact() else { return Ok(None) };
        let stages = self.snapshots(stage, report);
        let project = self.project.recipe.project.name.as_str();
        let wanted = Wanted { project, target: &target.to_string(), output, stages: &stages };
        let place = publish(self.store, self.finished, &self.dir, wanted)?;
        Ok(Some(InPlace { target, stage, artifact: artifact.clone(), path: place.path }))
    }

    /// The stages that a target is made of, with what they made.
    fn snapshots<'r>(&'r self, stage: StageId, report: &'r StageReports) -> Vec<(&'r str, &'r Snapshot)> {
        let needed = self.project.graph.needed_for(&[stage]);
        let made = needed.iter().filter_map(|stage| {
            let snapshot = report.outputs.get(stage)?.snapshot()?;
            Some((self.project.graph.name(*stage).as_str(), snapshot))
        });
        made.collect()
    }

    /// Notes which files are of this build if not all are. A file that is not there is of no build.
    pub(super) fn note(&self, placed: &Placed<'_>, targets: &[Target], observer: &dyn BuildObserver) {
        if placed.failed.is_none() {
            return;
        }
        let is_new = |target: &&Target| placed.in_place.iter().any(|placed| placed.target == *target);
        let (new, old): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_new);
        let is_there = |target: &&Target| self.dir.join(target.to_string()).exists();
        let old: Vec<_> = old.into_iter().filter(is_there).collect();
        let names = |targets: &[&Target]| targets.iter().map(ToString::to_string).collect::<Vec<_>>();
        if let Some(text) = mixture(&names(&new), &names(&old)) {
            observer.note("output", &text);
        }
    }
}

/// That a target is not promised to be reproducible, because of these of its stages.
fn waived(project: &Project<'_>, needed: &[StageId]) -> Option<String> {
    let is_waived = |stage: &&StageId| !project.is_reproducible(**stage);
    let names: Vec<_> =
        needed.iter().filter(is_waived).map(|stage| format!("`{}`", project.graph.name(*stage))).collect();
    let verb = if names.len() == 1 { "says" } else { "say" };
    (!names.is_empty())
        .then(|| format!("not reproducible: {} {verb} `reproducible = false`", names.join(", ")))
}

/// Damage of an image in the store is detected while it is copied out, which removes it from the store.
pub(super) fn is_damaged(error: &Error) -> bool {
    matches!(error.find(), Some(StageError::DamagedArtifact(_)))
}

/// Which targets are of this build, and which are not, if there are any.
fn mixture(new: &[String], old: &[String]) -> Option<String> {
    let said = |targets: &[String], word: &str| {
        let names: Vec<_> = targets.iter().map(|target| format!("`{target}`")).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb} {word}", names.join(", "))
    };
    match (new, old) {
        ([], []) => None,
        ([], _) => Some(said(old, "not of this build")),
        (_, []) => Some(said(new, "of this build")),
        _ => Some(format!("{}; {}", said(new, "of this build"), said(old, "not"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_files_are_of_this_build_is_said_of_each() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let said = |new: &[&str], old: &[&str]| mixture(&names(new), &names(old)).unwrap_or_default();
        assert_eq!(
            said(&["a.ova"], &["a.raw", "a.vdi"]),
            "`a.ova` is of this build; `a.raw`, `a.vdi` are not"
        );
        assert_eq!(
            said(&["a.ova", "b.ova"], &["a.raw"]),
            "`a.ova`, `b.ova` are of this build; `a.raw` is not"
        );
        assert_eq!(said(&[], &["a.ova"]), "`a.ova` is not of this build");
        assert_eq!(said(&["a.ova"], &[]), "`a.ova` is of this build");
        assert_eq!(said(&[], &[]), "");
    }
}
