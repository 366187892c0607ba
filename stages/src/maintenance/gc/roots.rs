//! What garbage collection starts from: the actions of the last builds, pins, and work that no build has finished yet.
//!
//! Roots are actions, not names, so they stay valid when the recipe changes. Build records say which action needs
//! which; where there is none, the layers of a snapshot do. Packages are no part of this: a locked build may be the
//! last that knows where they were, so they are removed only on request.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::{ActionKey, Store};
use ibuild_graph::{ActionResult, Build, Pin, RememberedStage};

use crate::StageError;

/// Why an action is kept, with all actions that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A build of some targets.
    Build {
        /// The project's name.
        project: String,
        /// What was asked for. Later builds of a target replace earlier ones.
        targets: Vec<String>,
        /// Its number; a greater one is later.
        number: u64,
        /// All its actions.
        keys: BTreeSet<ActionKey>,
    },
    /// A pin.
    Pin(ActionKey),
    /// The last run of a stage that is later than its project's last build, or of a project without one; or any result of
    /// a store that knows nothing of what was built.
    InWork(ActionKey),
}

/// What needs what, as far as builds tell: an action, and those that its inputs were.
pub(super) type Needs = BTreeMap<ActionKey, BTreeSet<ActionKey>>;

/// The roots of a store, and what its builds tell of who needs whom.
pub(super) fn find(store: &Store) -> Result<(Vec<Root>, Needs), StageError> {
    let builds = Build::all(store)?;
    let mut roots = Vec::new();
    let mut needs = Needs::new();
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    for (number, build) in builds {
        for stage in &build.stages {
            let inputs = stage.inputs.iter().filter_map(|at| build.stages.get(*at as usize));
            needs.entry(stage.key).or_default().extend(inputs.map(|input| input.key));
        }
        let end = ended.entry(build.project.clone()).or_default();
        *end = build.time.max(*end);
        let keys = build.stages.iter().map(|stage| stage.key).collect();
        roots.push(Root::Build { project: build.project, targets: build.targets, number, keys });
    }
    roots.extend(Pin::all(store)?.into_iter().map(|pin| Root::Pin(pin.key)));
    let is_later =
        |stage: &RememberedStage| ended.get(&stage.project).is_none_or(|end| stage.last.time >= *end);
    let in_work = RememberedStage::all(store)?.into_iter().filter(is_later);
    roots.extend(in_work.map(|stage| Root::InWork(stage.last.key)));
    if roots.is_empty() {
        // Such is an index that was made again from the results. Which of them are of use, the next build will tell.
        roots.extend(ActionResult::all(store)?.into_iter().map(|(key, _)| Root::InWork(key)));
    }
    Ok((roots, needs))
}
