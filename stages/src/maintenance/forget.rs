//! Forgetting what stages made, of which nothing is lost for good: it is made again when it is needed.
//!
//! Facts go first, then what they point at. A crash in between leaves files that nobody knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ibuild_cache::{Batch, BlobId, LayerId, Store, Table, Usage};
use ibuild_graph::{ActionResult, RememberedStage, RunMemory};

use crate::output::StageOutput;
use crate::packages_used::package_usage;
use crate::snapshot::LayerStore;
use crate::{FailedState, StageError};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Stages without a last run now.
    pub stages: usize,
    /// Layers of which the tarball, the directory or both are gone.
    pub layers: usize,
    /// PendingArtifacts files that are gone.
    pub artifacts: usize,
    /// Bytes of the disk that are free again.
    pub bytes: u64,
}

/// Forgets a stage's last run and what it made, except layers and files that another action made too or stands on.
pub fn forget_stage(store: &Store, stage: &RememberedStage) -> Result<Forgotten, StageError> {
    let key = stage.last.key;
    let memory = RunMemory::new(store, &stage.project);
    let output = memory.result(&key)?.and_then(|result| result.output::<StageOutput>());
    let mut batch = Batch::default();
    memory.forget(&stage.stage, &stage.last, &mut batch);
    package_usage::forget(&mut batch, &key);
    store.index().commit(batch)?;
    store.results().remove(&key)?;
    FailedState::forget(store, &stage.project, stage.stage.as_str())?;
    let mut gone = Forgotten { stages: 1, ..Forgotten::default() };
    let needed = Needed::of(store)?;
    match output {
        Some(StageOutput::Snapshot(snapshot)) => {
            let unused = snapshot.layers.iter().filter(|layer| !needed.layers.contains(layer));
            for layer in unused {
                gone.layer(store, layer)?;
            }
        }
        Some(file) => gone.file(store, &file, &needed)?,
        None => {}
    }
    Ok(gone)
}

/// What the remaining actions need.
struct Needed {
    layers: BTreeSet<LayerId>,
    blobs: BTreeSet<BlobId>,
}

impl Needed {
    fn of(store: &Store) -> Result<Self, StageError> {
        let mut needed = Self { layers: BTreeSet::new(), blobs: BTreeSet::new() };
        for (_, result) in ActionResult::all(store)? {
            match result.output() {
                Some(StageOutput::Snapshot(snapshot)) => needed.layers.extend(snapshot.layers),
                Some(file) => needed.blobs.extend(file.blobs().iter().map(|needed| needed.blob)),
                None => {}
            }
        }
        Ok(needed)
    }
}

impl Forgotten {
    fn layer(&mut self, store: &Store, layer: &LayerId) -> Result<(), StageError> {
        let layers = LayerStore::new(store);
        let Some(layer) = layers.find(layer)? else { return Ok(()) };
        self.bytes += Usage::of(&store.blobs().path(&layer.blob))?.bytes;
        self.bytes += Usage::of(&layers.unpacked_path(&layer.id))?.bytes;
        layers.remove(&layer)?;
        self.layers += 1;
        Ok(())
    }

    /// A file goes with its first blob: that is all of it, or says what it is made of.
    fn file(&mut self, store: &Store, file: &StageOutput, needed: &Needed) -> Result<(), StageError> {
        let blobs = file.blobs().into_iter().map(|it| it.blob);
        let unused: Vec<BlobId> = blobs.filter(|blob| !needed.blobs.contains(blob)).collect();
        self.artifacts += usize::from(file.blobs().first().is_some_and(|first| unused.contains(&first.blob)));
        for blob in unused {
            self.bytes += Usage::of(&store.blobs().path(&blob))?.bytes;
            store.blobs().remove(&blob)?;
        }
        Ok(())
    }
}

/// Forgets everything that stages of all projects made. Packages and logs stay.
pub fn forget_everything(store: &Store) -> Result<Forgotten, StageError> {
    let stages = RememberedStage::all(store)?.len();
    let results = ActionResult::all(store)?;
    let outputs = results.iter().filter_map(|(_, result)| result.output::<StageOutput>());
    let artifacts = outputs.filter(|output| output.artifact().is_some()).count();
    let layers = LayerStore::new(store).all()?;
    let mut batch = Batch::default();
    for table in [
        Table::Stages,
        Table::Runs,
        Table::Comparisons,
        Table::Actions,
        Table::Layers,
        Table::Trees,
        Table::Grains,
    ] {
        for (key, _) in store.index().scan(table, &[])? {
            batch.delete(table, &key);
        }
    }
    package_usage::actions(store)?.iter().for_each(|action| package_usage::forget(&mut batch, action));
    store.index().commit(batch)?;
    for key in store.results().list()? {
        store.results().remove(&key)?;
    }
    let mut bytes = 0;
    for blob in store.blobs().list()? {
        bytes += Usage::of(&store.blobs().path(&blob.digest))?.bytes;
        store.blobs().remove(&blob.digest)?;
    }
    for dir in [store.layout().layers(), store.layout().failed(), store.layout().spares()] {
        bytes += empty(store, &dir)?;
    }
    Ok(Forgotten { stages, layers: layers.len(), artifacts, bytes })
}

/// Removes everything in a directory, and tells what it took.
fn empty(store: &Store, dir: &Path) -> Result<u64, StageError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(StageError::io("read", dir))? {
        let path = entry.map_err(StageError::io("read", dir))?.path();
        bytes += Usage::of(&path)?.bytes;
        store.discard(&path)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{MemoryIndex, TreeId};
    use ibuild_graph::{Description, DirtyReason, FinishedRun, StageName};

    use super::*;
    use crate::Artifact;
    use crate::snapshot::{Layer, Snapshot};

    struct Lab {
        _root: tempfile::TempDir,
        store: Store,
    }

    impl Lab {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
            Self { _root: root, store }
        }

        fn layer(&self, number: u8) -> LayerId {
            let id = LayerId::from_bytes([number; 32]);
            let blob = self.store.blobs().put(&[number]).unwrap();
            let layer = Layer { id, blob: blob.digest, raw_size: 1, blob_size: 1, changes: 1 };
            let mut batch = Batch::default();
            batch.put(Table::Layers, id.as_bytes(), ibuild_cache::Record::to_bytes(&layer));
            batch.put(Table::Trees, &[number; 32], vec![number]);
            self.store.index().commit(batch).unwrap();
            fs::create_dir(LayerStore::new(&self.store).unpacked_path(&id)).unwrap();
            id
        }

        fn ran(&self, stage: &str, output: &StageOutput) {
            let mut description = Description::new("run", 1);
            description.set("command", stage);
            let memory = RunMemory::new(&self.store, "lab");
            let stage = StageName::new(stage);
            memory
                .remember_run(
                    &stage,
                    FinishedRun {
                        description: &description,
                        facts: Batch::default(),
                        reason: DirtyReason::NeverBuilt.into(),
                        millis: 1,
                    },
                    output,
                )
                .unwrap();
        }

        fn snapshot(&self, stage: &str, layers: &[LayerId]) {
            let tree = TreeId::from_bytes([9; 32]);
            self.ran(stage, &StageOutput::Snapshot(Snapshot::of(tree, layers.to_vec())));
        }

        fn artifact(&self, stage: &str, bytes: &[u8]) {
            let stored = self.store.blobs().put(bytes).unwrap();
            let artifact = Artifact { blob: stored.digest, size: stored.size };
            self.ran(stage, &StageOutput::Artifact(artifact));
        }

        fn forget(&self, stage: &str) -> Forgotten {
            let all = RememberedStage::all(&self.store).unwrap();
            let found = all.iter().find(|remembered| remembered.stage.as_str() == stage).unwrap();
            forget_stage(&self.store, found).unwrap()
        }
    }

    #[test]
    fn what_another_stage_stands_on_stays() {
        let lab = Lab::new();
        let (low, high) = (lab.layer(1), lab.layer(2));
        lab.snapshot("x/low", &[low]);
        lab.snapshot("x/high", &[low, high]);
        assert_eq!(lab.forget("x/low").layers, 0);
        assert_eq!(lab.forget("x/high").layers, 2);
        assert_eq!(lab.store.blobs().list().unwrap(), []);
        assert_eq!(fs::read_dir(lab.store.layout().layers()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_gone_already_does_not_matter() {
        let lab = Lab::new();
        lab.artifact("x.ova", b"image");
        let blob = lab.store.blobs().list().unwrap()[0].digest;
        lab.store.blobs().remove(&blob).unwrap();
        assert_eq!(lab.forget("x.ova"), Forgotten { stages: 1, artifacts: 1, ..Forgotten::default() });
        let layer = lab.layer(1);
        lab.snapshot("x/1", &[layer]);
        fs::remove_dir(LayerStore::new(&lab.store).unpacked_path(&layer)).unwrap();
        assert_eq!(lab.forget("x/1").layers, 1);
    }

    #[test]
    fn everything_but_packages() {
        let lab = Lab::new();
        let layer = lab.layer(1);
        lab.snapshot("x/1", &[layer]);
        lab.artifact("x.ova", b"image");
        lab.store.packages().put(b"deb").unwrap();
        let gone = forget_everything(&lab.store).unwrap();
        assert_eq!((gone.stages, gone.layers, gone.artifacts), (2, 1, 1));
        assert_eq!(lab.store.results().list().unwrap(), []);
        assert_eq!(lab.store.blobs().list().unwrap(), []);
        assert_eq!(lab.store.packages().list().unwrap().len(), 1);
        for table in [Table::Stages, Table::Actions, Table::Layers, Table::Trees, Table::Grains] {
            assert_eq!(lab.store.index().scan(table, &[]).unwrap(), []);
        }
        assert_eq!(forget_everything(&lab.store).unwrap(), Forgotten::default());
    }
}
