//! Whether the secrets are there that stages need, before anything is done.

use ibuild_graph::{StageId, Verdict};
use ibuild_stages::recipe::SecretName;
use ibuild_stages::{Job, Project, StageExecutor};

use super::goal::Goal;
use super::{BuildObserver, Workspace};
use crate::error::Result;
use crate::secrets::{Lacking, Runs, refuse_lacking};

impl Workspace {
    /// The secrets that a stage of the project needs, each with whether it is given.
    pub fn secrets_needed(&self, project: &Project<'_>, stage: StageId) -> Vec<(SecretName, bool)> {
        match project.job(stage) {
            Job::Step { step, .. } => {
                let names = step.secrets.iter().map(|secret| secret.name.clone());
                names.map(|name| (name.clone(), self.secrets.values.has(&name))).collect()
            }
            Job::Image { .. } => Vec::new(),
        }
    }

    /// Says what is wrong with how secrets are kept, and refuses a build of which a stage may run that lacks one. A build of which
    /// nothing runs that needs secrets does without them.
    pub(super) fn check_secrets(
        &self,
        executor: &StageExecutor<'_>,
        goal: &Goal,
        observer: &dyn BuildObserver,
    ) -> Result<()> {
        let project = executor.context().project();
        self.secrets.notes(&self.dir).iter().for_each(|note| observer.note("secret", note));
        let needed = project.graph.needed_for(&goal.stages);
        if needed.iter().all(|stage| self.lacks(project, *stage).is_empty()) {
            return Ok(());
        }
        let plan = self.plan_with(executor, &goal.stages)?;
        let runs = plan.stages.iter().filter_map(|planned| match planned.verdict {
            _ if goal.forced.contains(&planned.stage) => Some((planned.stage, Runs::Yes)),
            Verdict::Fresh => None,
            Verdict::Dirty(_) => Some((planned.stage, Runs::Yes)),
            Verdict::Pending(_) => Some((planned.stage, Runs::Perhaps)),
        });
        self.refuse_lacking_secrets(project, runs)
    }

    /// Refuses stages that lack secrets.
    pub(super) fn refuse_lacking_secrets(
        &self,
        project: &Project<'_>,
        stages: impl IntoIterator<Item = (StageId, Runs)>,
    ) -> Result<()> {
        let lacking = stages.into_iter().map(|(stage, runs)| Lacking {
            stage: project.graph.name(stage).to_string(),
            names: self.lacks(project, stage),
            runs,
        });
        let lacking: Vec<_> = lacking.filter(|stage| !stage.names.is_empty()).collect();
        let mut names = lacking.iter().flat_map(|stage| &stage.names);
        // That its file cannot be read is more than that it is not given.
        if let Some(unusable) = names.find_map(|name| self.secrets.why_unusable(name)) {
            return Err(unusable.clone().into());
        }
        Ok(refuse_lacking(&lacking)?)
    }

    fn lacks(&self, project: &Project<'_>, stage: StageId) -> Vec<SecretName> {
        let needed = self.secrets_needed(project, stage).into_iter();
        needed.filter(|(_, given)| !given).map(|(name, _)| name).collect()
    }
}
