//! What a failed stage had made, kept for a look inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ibuild_cache::{LayerId, Store};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::sandbox::lower_name;
use crate::snapshot::LayerStore;

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

    /// The directories of what it had made and of the layers that it stood on, topmost first.
    pub(crate) fn lowers(&self, store: &Store) -> Result<Vec<String>, StageError> {
        let below = LayerStore::new(store).lowers(&self.layers)?;
        let own = lower_name(&store.layout().layers(), &self.dir.join("upper"));
        Ok([own].into_iter().chain(below).collect())
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
