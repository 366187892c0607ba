//! What stages made some builds ago: `NAME@N`.

use ibuild_graph::Build;
use ibuild_stages::snapshot::Snapshot;
use ibuild_stages::{Job, Project, StageOutput};

use super::Workspace;
use crate::error::{Result, UsageError};

/// Takes `@N` off the end of a name: how many builds back.
pub fn builds_back(name: &str) -> (&str, Option<usize>) {
    let back = name.rsplit_once('@').and_then(|(name, back)| Some((name, back.parse().ok()?)));
    back.map_or((name, None), |(name, back)| (name, Some(back)))
}

impl Workspace {
    /// What a stage made, or the root file system of a target, in the build so many builds before the last one that needed it.
    /// Builds in which nothing ran are not counted.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if there is no such stage or build, or if what was made then is not in the store any
    /// more.
    pub(super) fn inspect_back(&self, name: &str, back: usize) -> Result<Snapshot> {
        let project = self.project();
        let subject = self.find_stage(name)?;
        let step = step_of(&project, project.job(subject));
        let subject = project.graph.name(subject).as_str();
        let build = self.build_back(subject, back)?.ok_or_else(|| {
            UsageError::new(format!("there is no build {back} builds back that needed `{subject}`"))
                .hint("builds in which nothing ran are not counted; 0 is the last one")
        })?;
        let built = build.stages.iter().find(|built| built.stage == step);
        let result = built.map(|built| self.memory().result(&built.key)).transpose()?.flatten();
        let output = result.and_then(|result| result.output::<StageOutput>());
        let gone = || {
            UsageError::new(format!("what `{subject}` was made of then is not in the store any more"))
                .hint("`ibuild cache pin` keeps a result whatever else is removed")
        };
        Ok(output.as_ref().and_then(StageOutput::snapshot).ok_or_else(gone)?.clone())
    }

    fn build_back(&self, stage: &str, back: usize) -> Result<Option<Build>> {
        let project = self.recipe.project.name.as_str();
        let needs = |build: &Build| build.stages.iter().any(|built| built.stage == stage);
        let ran = |build: &Build| build.stages.iter().any(|built| built.ran);
        let builds = Build::all(&self.store)?.into_iter().map(|(_, build)| build);
        Ok(builds.rev().filter(|build| build.project == project && needs(build) && ran(build)).nth(back))
    }
}

/// The step that makes what is looked into: of an image the last one of its first machine.
fn step_of(project: &Project<'_>, job: &Job<'_>) -> String {
    match job {
        Job::Step { name, .. } => name.to_string(),
        Job::Image { machines, .. } => {
            let last = project.recipe.last_stage(&machines[0].rootfs);
            last.expect("a checked recipe's rootfs has a last stage").name.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_taken_off() {
        assert_eq!(builds_back("ws/x@12"), ("ws/x", Some(12)));
        assert_eq!(builds_back("ws/x@y"), ("ws/x@y", None));
        assert_eq!(builds_back("ws/x"), ("ws/x", None));
    }
}
