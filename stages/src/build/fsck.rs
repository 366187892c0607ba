//! Checks that every fact of a store is true, and takes back those that are not: what was wrong is a miss afterwards,
//! and is made again when it is needed. An index that cannot be read is begun anew from the results' own files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ibuild_cache::{ActionKey, Batch, BlobId, CacheError, LayerId, Layout, Record, Store, Table, TreeId};
use ibuild_graph::ActionResult;

use super::{StageError, StageOutput, evidence};
use crate::snapshot::{Layer, LayerStore, Snapshot, TreeStore, held};

/// Something that was not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The index could not be read. It was put aside, and a new one begun.
    BrokenIndex {
        /// Where it is now.
        aside: PathBuf,
        /// Why it could not be read.
        reason: String,
    },
    /// Facts of so many results were brought back from their files.
    Recovered(usize),
    /// A blob did not have its name any more, and was removed.
    DamagedBlob(BlobId),
    /// A directory of a tree was damaged, and was forgotten.
    DamagedTree(String),
    /// A layer has no tarball, or one of another size, and was forgotten.
    MissingLayer(String),
    /// A result lacks something, and was forgotten.
    IncompleteResult(ActionKey),
    /// A result's file was damaged, and was removed.
    DamagedResultFile(ActionKey),
    /// A directory among the unpacked layers that belongs to none, and was removed.
    StrayDirectory(String),
    /// A blob that nothing names. It is left to garbage collection.
    StrayBlob(BlobId),
}

impl Finding {
    /// Whether something was wrong; else it is only of no use.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::StrayBlob(_) | Self::StrayDirectory(_))
    }
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What was found, in the order in which it was.
    pub findings: Vec<Finding>,
    /// Results that are whole.
    pub results: usize,
    /// Layers that are whole.
    pub layers: usize,
    /// Bytes of blobs that were read.
    pub bytes: u64,
}

/// Checks and repairs a store. The caller has it alone.
pub fn fsck(store: &Store) -> Result<Checked, StageError> {
    let mut check = Check { store, done: Checked::default(), batch: Batch::default() };
    check.index()?;
    check.blobs()?;
    check.result_files()?;
    let layers = check.layers()?;
    let trees = check.trees()?;
    let results = check.results(&layers, &trees)?;
    check.strays(&layers, &results)?;
    held::forget_all(store, &mut check.batch)?;
    let Check { done, batch, .. } = check;
    store.index().commit(batch)?;
    Ok(done)
}

/// Brings back the facts of results that the index does not know but that have a file; says of how many. Nothing is
/// believed for it: layers are checked when they are unpacked, directories of trees when they are read.
pub fn recover(store: &Store) -> Result<usize, StageError> {
    let (mut facts, mut count) = (Batch::default(), 0);
    for key in store.results().list()? {
        if store.index().get(Table::Actions, key.as_bytes())?.is_none()
            && let Some(of_result) = store.results().read(&key)?
        {
            facts.append(of_result);
            count += 1;
        }
    }
    store.index().commit(facts)?;
    Ok(count)
}

/// The directories of trees with those directly in them.
type Trees = BTreeMap<TreeId, Vec<TreeId>>;

struct Check<'s> {
    store: &'s Store,
    done: Checked,
    /// What is to be forgotten.
    batch: Batch,
}

impl Check<'_> {
    fn found(&mut self, finding: Finding) {
        self.done.findings.push(finding);
    }

    /// Reading every row makes the index check them all.
    fn index(&mut self) -> Result<(), StageError> {
        let read = Table::ALL.iter().try_for_each(|table| self.store.index().scan(*table, &[]).map(drop));
        match read {
            Err(CacheError::Index { reason, .. }) => {
                let aside = self.store.set_index_aside()?;
                self.found(Finding::BrokenIndex { aside, reason });
            }
            read => read?,
        }
        match recover(self.store)? {
            0 => {}
            count => self.found(Finding::Recovered(count)),
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), StageError> {
        let scrubbed = self.store.blobs().scrub()?;
        self.done.bytes = scrubbed.bytes;
        scrubbed.damaged.iter().for_each(|blob| self.found(Finding::DamagedBlob(blob.digest)));
        Ok(())
    }

    fn result_files(&mut self) -> Result<(), StageError> {
        for key in self.store.results().list()? {
            if self.store.results().read(&key)?.is_none() {
                self.store.results().remove(&key)?;
                self.found(Finding::DamagedResultFile(key));
            }
        }
        Ok(())
    }

    /// The layers that are whole, with their tarballs.
    fn layers(&mut self) -> Result<BTreeMap<LayerId, BlobId>, StageError> {
        let known = LayerStore::new(self.store);
        let mut whole = BTreeMap::new();
        for (key, value) in self.store.index().scan(Table::Layers, &[])? {
            let layer = Layer::from_bytes(&value).filter(|layer| layer.id.as_bytes()[..] == key[..]);
            let found = layer.map(|layer| known.find(&layer.id)).transpose()?.flatten();
            match found {
                Some(layer) => drop(whole.insert(layer.id, layer.blob)),
                None => {
                    self.batch.delete(Table::Layers, &key);
                    self.found(Finding::MissingLayer(hex(&key)));
                }
            }
        }
        self.done.layers = whole.len();
        Ok(whole)
    }

    fn trees(&mut self) -> Result<Trees, StageError> {
        let whole = TreeStore::new(self.store).all_children()?;
        for (key, _) in self.store.index().scan(Table::Trees, &[])? {
            let id = <[u8; 32]>::try_from(key.as_slice()).map(TreeId::from_bytes);
            if !id.is_ok_and(|id| whole.contains_key(&id)) {
                self.batch.delete(Table::Trees, &key);
                self.found(Finding::DamagedTree(hex(&key)));
            }
        }
        Ok(whole)
    }

    /// The results that are whole.
    fn results(
        &mut self,
        layers: &BTreeMap<LayerId, BlobId>,
        trees: &Trees,
    ) -> Result<Vec<StageOutput>, StageError> {
        let mut whole = Vec::new();
        for (key, result) in ActionResult::all(self.store)? {
            match result.output::<StageOutput>() {
                Some(output) if self.is_whole(&output, layers, trees)? => whole.push(output),
                _ => {
                    self.batch.delete(Table::Actions, key.as_bytes());
                    evidence::forget(&mut self.batch, &key);
                    self.store.results().remove(&key)?;
                    self.found(Finding::IncompleteResult(key));
                }
            }
        }
        self.done.results = whole.len();
        Ok(whole)
    }

    fn is_whole(
        &self,
        output: &StageOutput,
        layers: &BTreeMap<LayerId, BlobId>,
        trees: &Trees,
    ) -> Result<bool, StageError> {
        match output {
            StageOutput::Snapshot(Snapshot { tree, layers: needed }) => {
                Ok(needed.iter().all(|layer| layers.contains_key(layer)) && is_complete(trees, *tree))
            }
            file => Ok(file.has_blobs(self.store)?),
        }
    }

    fn strays(
        &mut self,
        layers: &BTreeMap<LayerId, BlobId>,
        results: &[StageOutput],
    ) -> Result<(), StageError> {
        let names: BTreeSet<_> = layers.keys().map(Layout::layer_name).collect();
        let dir = self.store.layout().layers();
        for entry in fs::read_dir(&dir).map_err(StageError::io("read", &dir))? {
            let entry = entry.map_err(StageError::io("read", &dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Whether one is what it was could only be told by reading it, which is as much work as unpacking it anew.
            self.store.discard(&entry.path())?;
            if !names.contains(&name) {
                self.found(Finding::StrayDirectory(name));
            }
        }
        let files = results.iter().flat_map(StageOutput::blobs).map(|needed| needed.blob);
        let named: BTreeSet<_> = layers.values().copied().chain(files).collect();
        for blob in self.store.blobs().list()? {
            if !named.contains(&blob.digest) {
                self.found(Finding::StrayBlob(blob.digest));
            }
        }
        Ok(())
    }
}

/// Whether every directory of a tree is known.
fn is_complete(trees: &Trees, root: TreeId) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(tree) = open.pop() {
        let Some(children) = trees.get(&tree) else { return false };
        if seen.insert(tree) {
            open.extend(children);
        }
    }
    true
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ibuild_cache::MemoryIndex;
    use ibuild_graph::{Description, RunMemory, StageName};

    use super::*;
    use crate::build::evidence::Evidence;
    use crate::snapshot::{Entry, Kind, Listing, Metadata};

    fn open(dir: &Path) -> Store {
        Store::open(dir, |_| MemoryIndex::default()).unwrap()
    }

    /// A result with one layer, and a tree with one directory under its root.
    fn build(store: &Store, stage: &str) -> (ActionKey, Layer, TreeId) {
        let stored = store.blobs().put(stage.as_bytes()).unwrap();
        let id = LayerId::from_bytes(*stored.digest.as_bytes());
        let layer = Layer { id, blob: stored.digest, raw_size: 1, blob_size: stored.size, changes: 1 };
        let trees = TreeStore::new(store);
        let inner = trees.add_listing(&Listing::default());
        let directory = |listing| Entry { meta: Metadata::default(), kind: Kind::Directory(listing) };
        let outer = Listing { entries: [(stage.as_bytes().to_vec(), directory(inner))].into() };
        let tree = trees.add_root(&directory(trees.add_listing(&outer)));
        let mut facts = Batch::default();
        facts.put(Table::Layers, id.as_bytes(), layer.to_bytes());
        trees.flush(&mut facts);
        fs::create_dir(LayerStore::new(store).unpacked_path(&id)).unwrap();
        let mut description = Description::new("run", 1);
        description.set("command", stage);
        Evidence::record(Some(Evidence::default()), &mut facts, &description.key());
        let output = StageOutput::Snapshot(Snapshot { tree, layers: vec![id] });
        let memory = RunMemory::new(store, "lab");
        let stage = StageName::new(stage);
        memory.remember_run(&stage, &description, &output, facts, String::new(), 1).unwrap();
        (description.key(), layer, inner)
    }

    fn findings(store: &Store) -> Vec<Finding> {
        fsck(store).unwrap().findings
    }

    #[test]
    fn a_sound_store_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        assert_eq!(fsck(&store).unwrap(), Checked::default());
        build(&store, "x/1");
        build(&store, "x/2");
        let checked = fsck(&store).unwrap();
        assert_eq!((checked.results, checked.layers, checked.findings), (2, 2, vec![]));
    }

    #[test]
    fn a_result_without_its_layer_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (key, layer, _) = build(&store, "x/1");
        build(&store, "x/2");
        let path = store.blobs().path(&layer.blob);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "X/1").unwrap();
        let name = Layout::layer_name(&layer.id);
        let expected = [
            Finding::DamagedBlob(layer.blob),
            Finding::MissingLayer(layer.id.hex()),
            Finding::IncompleteResult(key),
            Finding::StrayDirectory(name),
        ];
        assert_eq!(findings(&store), expected);
        assert_eq!(findings(&store), []);
        assert_eq!(RunMemory::new(&store, "lab").result(&key).unwrap(), None);
        assert_eq!(store.results().list().unwrap().len(), 1);
        assert!(!evidence::actions(&store).unwrap().contains(&key));
    }

    #[test]
    fn a_result_with_a_damaged_tree_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (key, _, inner) = build(&store, "x/1");
        let mut batch = Batch::default();
        batch.put(Table::Trees, inner.as_bytes(), b"something else".to_vec());
        store.index().commit(batch).unwrap();
        let expected = [Finding::DamagedTree(inner.hex()), Finding::IncompleteResult(key)];
        assert_eq!(findings(&store)[..2], expected);
        // What is left of it is garbage now.
        assert_eq!(findings(&store), []);
    }

    #[test]
    fn a_lost_index_is_made_again_from_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (whole, ..) = build(&store, "x/1");
        let (lost, layer, _) = build(&store, "x/2");
        let (torn, ..) = build(&store, "x/3");
        store.blobs().remove(&layer.blob).unwrap();
        fs::write(store.results().path(&torn), "torn").unwrap();
        let before = RunMemory::new(&store, "lab").result(&whole).unwrap();
        drop(store);
        let store = open(dir.path());
        let found = findings(&store);
        assert_eq!(found[0], Finding::Recovered(2));
        assert!(found.contains(&Finding::DamagedResultFile(torn)), "{found:?}");
        assert!(found.contains(&Finding::IncompleteResult(lost)), "{found:?}");
        let memory = RunMemory::new(&store, "lab");
        assert_eq!(memory.result(&whole).unwrap(), before);
        assert!(before.is_some() && memory.result(&lost).unwrap().is_none());
        assert_eq!(evidence::actions(&store).unwrap(), [whole].into());
        assert!(memory.result(&torn).unwrap().is_none());
    }

    #[test]
    fn blobs_that_nothing_names_are_left_to_garbage_collection() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let stray = store.blobs().put(b"stray").unwrap().digest;
        assert_eq!(findings(&store), [Finding::StrayBlob(stray)]);
        assert_eq!(store.blobs().list().unwrap().len(), 1);
    }
}
