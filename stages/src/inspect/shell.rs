//! A look inside: a throw-away copy of what a stage made, or of what it had made when it failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ibuild_cache::{LayerId, Store};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::executor::builder::Builder;
use crate::executor::environment::environment;
use crate::executor::stage_run::{lower_names, machine_limits};
use crate::recipe::Step;
use crate::sandbox::lower_name;
use crate::sandbox::{Ended, NetworkSpec, Payload, Place, RunPolicy, SandboxError, SandboxView, Spec, Stdio};
use crate::snapshot::{LayerStore, Snapshot};

/// What a failed stage had made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedState {
    layers: Vec<LayerId>,
    /// How it failed, in a line. Earlier versions did not write it down.
    #[serde(default)]
    why: Option<String>,
    #[serde(skip)]
    dir: PathBuf,
    #[serde(skip)]
    time: u64,
}

/// Why there is no look inside.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The state could not be prepared.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The sandbox could not be made.
    #[error("cannot open a shell")]
    Sandbox(#[from] SandboxError),
    /// There is no failure to look into.
    #[error("no failure of `{0}` is known")]
    NotFailed(String),
    /// There was no room to keep what it had made.
    #[error("what `{stage}` had made when it failed is not kept: {why}")]
    NotKept {
        /// The stage.
        stage: String,
        /// How it failed, in a line.
        why: String,
    },
}

impl ShellError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFailed(stage) => {
                Some(format!("`ibuild explain {stage}` tells what is known of its last run"))
            }
            Self::NotKept { stage, .. } => {
                Some(format!("`ibuild log {stage}` has what it said; make room, and build it again"))
            }
            Self::Stage(_) | Self::Sandbox(_) => None,
        }
    }
}

/// What is left of a stage that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Remains<'a> {
    /// An upper directory with all that it had made.
    Upper(&'a Path),
    /// That it failed, and how. What it had made would take the room that it lacked.
    Word,
}

impl FailedState {
    fn dir(store: &Store, project: &str, stage: &str) -> PathBuf {
        store.layout().failed().join(project).join(as_file_name(stage))
    }

    /// The stage that a directory among those of a project is of.
    pub(crate) fn stage_of(dir: &str) -> String {
        dir.replace("%2f", "/").replace("%25", "%")
    }

    /// Keeps what is left of a failed stage, in place of what was left of its previous failure. The facts are written first:
    /// they are small, and where there is room for nothing else they are what can be told.
    pub(crate) fn keep(
        store: &Store,
        project: &str,
        stage: &str,
        remains: Remains<'_>,
        layers: Vec<LayerId>,
        why: String,
    ) -> Result<(), StageError> {
        let dir = Self::dir(store, project, stage);
        store.discard(&dir)?;
        fs::create_dir_all(&dir).map_err(StageError::io("create", &dir))?;
        let state = Self { layers, why: Some(why), dir: PathBuf::new(), time: 0 };
        let state = serde_json::to_vec(&state).expect("plain data");
        let file = dir.join("state.json");
        fs::write(&file, state).map_err(StageError::io("write", &file))?;
        let Remains::Upper(upper) = remains else { return Ok(()) };
        let place = dir.join("upper");
        fs::rename(upper, &place).map_err(StageError::io("keep", &place))
    }

    /// When it failed, seconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// How it failed, in a line, if that was written down.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether what it had made is there for a look inside.
    pub fn is_kept(&self) -> bool {
        self.dir.join("upper").exists()
    }

    /// The layers that the stage stood on.
    pub(crate) fn into_layers(self) -> Vec<LayerId> {
        self.layers
    }

    /// Forgets the failure of a stage that has succeeded.
    pub(crate) fn forget(store: &Store, project: &str, stage: &str) -> Result<(), StageError> {
        Ok(store.discard(&Self::dir(store, project, stage))?)
    }

    /// What the stage had made when it failed.
    pub fn find(store: &Store, project: &str, stage: &str) -> Option<Self> {
        let dir = Self::dir(store, project, stage);
        let file = dir.join("state.json");
        let state: Self = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        let written = fs::metadata(&file).and_then(|meta| meta.modified()).ok()?;
        let time = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Some(Self { dir, time, ..state })
    }
}

/// Another for each stage: no name of one has a `%`, and a text that has one is told apart, too.
fn as_file_name(stage: &str) -> String {
    stage.replace('%', "%25").replace('/', "%2f")
}

impl Builder<'_> {
    /// Runs `argv` on a terminal in a throw-away copy of a snapshot, in the environment of `step`. Nothing of what it
    /// does is kept.
    pub fn shell(
        &self,
        snapshot: &Snapshot,
        step: &Step,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        let lowers = lower_names(self, snapshot)?;
        self.shell_over(lowers, Some(step), argv, terminal)
    }

    /// What a stage of the project had made when it failed, if it failed the last time it ran.
    pub fn failed_state(&self, stage: &str) -> Option<FailedState> {
        FailedState::find(self.store(), self.project_name(), stage)
    }

    /// Forgets the failures of stages that were found in the store: what they are now did not fail.
    pub fn forget_failures<'n>(&self, found: impl IntoIterator<Item = &'n str>) -> Result<(), StageError> {
        // Most builds have none to forget, and each look costs less than asking for every stage.
        let dir = self.store().layout().failed().join(self.project_name());
        if !dir.exists() {
            return Ok(());
        }
        found.into_iter().try_for_each(|stage| FailedState::forget(self.store(), self.project_name(), stage))
    }

    /// The same over what the stage had made when it failed.
    pub fn shell_into_failure(
        &self,
        failed: &FailedState,
        step: Option<&Step>,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        let below = LayerStore::new(self.store()).lowers(&failed.layers).map_err(StageError::from)?;
        let mut lowers = vec![lower_name(&self.store().layout().layers(), &failed.dir.join("upper"))];
        lowers.extend(below);
        self.shell_over(lowers, step, argv, terminal)
    }

    fn shell_over(
        &self,
        lowers: Vec<String>,
        step: Option<&Step>,
        argv: Vec<String>,
        terminal: Option<String>,
    ) -> Result<Ended, ShellError> {
        let run = self.store().run_dir().map_err(StageError::from)?;
        let upper = run.path().join("upper");
        fs::create_dir(&upper).map_err(StageError::io("create", &upper))?;
        let mut env = environment(self.epoch(), &step.map(|step| step.env.clone()).unwrap_or_default());
        env.extend(terminal.map(|terminal| ("TERM".to_owned(), terminal)));
        let view = SandboxView {
            shown: Vec::new(),
            inject: Vec::new(),
            network: NetworkSpec::Isolated,
            env,
            payload: Payload::Exec { argv },
        };
        let place = Place {
            layers_dir: self.store().layout().layers(),
            lowers,
            run_dir: run.path().to_owned(),
            from: Vec::new(),
            sources: Vec::new(),
            authority: None,
        };
        let limits = machine_limits(&step.map(|step| step.limits).unwrap_or_default());
        let policy = RunPolicy { timeout: None, limits, stdio: Stdio::Terminal };
        let spec = Spec::new(&view, place, policy);
        Ok(self.supervisor().run(&spec, None, |_| Ok(()))?)
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;

    /// A regression: `/` became `__`, which may stand in a name.
    #[test]
    fn failures_of_different_stages_have_different_places() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
        let stages = ["a/b__c", "a__b/c", "a__b__c", "a%2fb__c", "a%252fb__c"];
        for (number, stage) in (0..).zip(stages) {
            let upper = root.path().join("upper");
            fs::create_dir(&upper).unwrap();
            let layers = vec![LayerId::from_bytes([number; 32])];
            FailedState::keep(&store, "lab", stage, Remains::Upper(&upper), layers, "exited".to_owned())
                .unwrap();
            let dir = FailedState::dir(&store, "lab", stage);
            assert_eq!(FailedState::stage_of(dir.file_name().unwrap().to_str().unwrap()), stage);
        }
        FailedState::forget(&store, "lab", stages[1]).unwrap();
        for (number, stage) in (0..).zip(stages) {
            let layers = FailedState::find(&store, "lab", stage).map(FailedState::into_layers);
            assert_eq!(layers, (number != 1).then(|| vec![LayerId::from_bytes([number; 32])]));
        }
    }
}
