//! What the last runs of stages say about the lock.

use std::collections::BTreeSet;

use ibuild_graph::{RunMemory, StageId};

use crate::StageError;
use crate::executor::context::StageContext;
use crate::packages::{DebRef, Lock, LockedDeb, PackageError};
use crate::packages_used::package_usage::used_by;
use crate::project::Job;
use crate::recipe::{Network, Step, StepKind};

/// A lock, and what it would have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// As it is.
    pub before: Lock,
    /// With what the stages were made of.
    pub after: Lock,
    /// Stages that install, and of which it is not known what.
    pub unknown: Vec<String>,
}

/// Whether a step may install packages.
fn installs(step: &Step) -> bool {
    matches!(step.kind, StepKind::Bootstrap { .. }) || step.network == Network::Packages
}

impl StageContext<'_> {
    /// What the last runs of these stages, which have to be fresh, say about the lock. What others use stays as it is,
    /// unless the recipe does not have them any more, in any profile.
    pub fn observe(&self, stages: &[StageId], memory: &RunMemory<'_>) -> Result<Observed, StageError> {
        let before = self.archives().lock()?;
        let (mut after, mut unknown) = (before.clone(), Vec::new());
        for stage in stages {
            let Job::Step { name, step } = self.project().job(*stage) else { continue };
            if !installs(step) {
                continue;
            }
            let last = memory.last_run(self.project().graph.name(*stage))?;
            let used = last.map(|last| used_by(self.store(), &last.key)).transpose()?.flatten();
            match used {
                Some(debs) => {
                    let names = self.archives_of(name);
                    let lock = |deb: DebRef| {
                        let archive = self.archives().owner(names, &deb.base).as_str().parse()?;
                        Ok(LockedDeb { archive, deb })
                    };
                    let debs = debs.into_iter().map(lock).collect::<Result<Vec<_>, PackageError>>()?;
                    after.set_stage(&name.to_string(), debs);
                }
                None => unknown.push(name.to_string()),
            }
        }
        // Builds with another profile are of the same lock.
        let omitted: BTreeSet<_> = self.project().recipe.omitted.iter().map(ToString::to_string).collect();
        let is_known = |stage: &str| {
            omitted.contains(stage)
                || self.project().graph.find(&ibuild_graph::StageName::new(stage)).is_some()
        };
        after.retain_stages(is_known);
        Ok(Observed { before, after, unknown })
    }
}
