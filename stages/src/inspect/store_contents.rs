//! What a store holds of stages, for people who look into it.

use std::collections::BTreeMap;

use ibuild_cache::{ActionKey, Store, TreeId};
use ibuild_graph::{ActionResult, RememberedStage, Value};

use crate::StageError;
use crate::fields::PARENT_TREE;
use crate::output::StageOutput;
use crate::snapshot::{Layer, LayerStore};

/// All actions of a store, with what they made.
pub struct StoreContents<'s> {
    store: &'s Store,
    results: BTreeMap<ActionKey, ActionResult>,
}

/// What a stage's own changes weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// Bytes of the compressed tarball, or of the artifact.
    pub bytes: u64,
    /// Changes in the layer; none in an artifact.
    pub changes: u64,
}

impl<'s> StoreContents<'s> {
    /// Reads the index.
    pub fn of(store: &'s Store) -> Result<Self, StageError> {
        Ok(Self { store, results: ActionResult::all(store)?.into_iter().collect() })
    }

    /// The actions whose key starts with these digits.
    pub fn keys_starting_with(&self, digits: &str) -> Vec<ActionKey> {
        self.results.keys().copied().filter(|key| key.hex().starts_with(digits)).collect()
    }

    /// What an action made, if it is known.
    pub fn output(&self, key: &ActionKey) -> Option<StageOutput> {
        self.results.get(key)?.output()
    }

    /// How long an action took, in milliseconds.
    pub fn millis(&self, key: &ActionKey) -> Option<u64> {
        self.results.get(key).map(|result| result.millis)
    }

    /// What a stage added to what it stands on; `None` if what it made is not known any more.
    pub fn weight(&self, stage: &RememberedStage) -> Result<Option<Weight>, StageError> {
        let Some(output) = self.output(&stage.last.key) else { return Ok(None) };
        let Some(snapshot) = output.snapshot() else {
            return Ok(output.artifact().map(|artifact| Weight { bytes: artifact.size, changes: 0 }));
        };
        let own = match parent_tree(stage) {
            Some(parent) => snapshot.own_layer(parent),
            None => snapshot.layers.last().copied(),
        };
        let layer: Option<Layer> =
            own.map(|layer| LayerStore::new(self.store).find(&layer)).transpose()?.flatten();
        Ok(Some(layer.map_or(Weight::default(), |l| Weight { bytes: l.blob_size, changes: l.changes })))
    }
}

/// The tree that a stage stood on at its last run.
fn parent_tree(stage: &RememberedStage) -> Option<TreeId> {
    match stage.last.description()?.fields().get(PARENT_TREE)? {
        Value::List(parents) => match parents.as_slice() {
            [Value::Digest(tree)] => Some(TreeId::from_bytes(*tree)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{Batch, LayerId, MemoryIndex, Record, Table};
    use ibuild_graph::{Description, DirtyReason, FinishedRun, RunMemory, StageName};

    use super::*;
    use crate::snapshot::Snapshot;

    fn layer(store: &Store, number: u8) -> LayerId {
        let id = LayerId::from_bytes([number; 32]);
        let blob = store.blobs().put(&vec![number; number.into()]).unwrap();
        let layer = Layer { id, blob: blob.digest, raw_size: 9, blob_size: blob.size, changes: 1 };
        let mut batch = Batch::default();
        batch.put(Table::Layers, id.as_bytes(), layer.to_bytes());
        store.index().commit(batch).unwrap();
        id
    }

    fn ran(store: &Store, stage: &str, parent: Option<u8>, tree: u8, layers: &[LayerId]) {
        let mut description = Description::new("run", 1);
        description.set("command", stage);
        description.set(PARENT_TREE, Value::option(parent.map(|tree| Value::Digest([tree; 32]))));
        let tree = TreeId::from_bytes([tree; 32]);
        let output = StageOutput::Snapshot(Snapshot::of(tree, layers.to_vec()));
        let stage = StageName::new(stage);
        RunMemory::new(store, "lab")
            .remember_run(
                &stage,
                FinishedRun {
                    description: &description,
                    facts: Batch::default(),
                    reason: DirtyReason::NeverBuilt.into(),
                    millis: 1,
                },
                &output,
            )
            .unwrap();
    }

    #[test]
    fn only_the_stages_own_layer_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let (low, high) = (layer(&store, 3), layer(&store, 5));
        ran(&store, "x/1", None, 1, &[low]);
        ran(&store, "x/2", Some(1), 2, &[low, high]);
        ran(&store, "x/3", Some(2), 2, &[low, high]);
        let contents = StoreContents::of(&store).unwrap();
        let stages = RememberedStage::all(&store).unwrap();
        let bytes = stages.iter().map(|stage| contents.weight(stage).unwrap().unwrap().bytes);
        assert_eq!(bytes.collect::<Vec<_>>(), [3, 5, 0]);
        let key = stages[0].last.key;
        assert_eq!(contents.keys_starting_with(&key.hex()[..9]), [key]);
        assert_eq!(contents.keys_starting_with("").len(), 3);
    }
}
