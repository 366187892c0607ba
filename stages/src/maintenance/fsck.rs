//! Checks that every fact of a store is true, and takes back those that are not: what was wrong is a miss afterwards,
//! and is made again when it is needed. An index that cannot be read is begun anew from the results' own files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ibuild_cache::{ActionKey, Batch, BlobId, CacheError, LayerId, Layout, Record, Store, Table, TreeId};
use ibuild_graph::ActionResult;

use crate::packages_used::package_usage;
use crate::snapshot::{Layer, LayerStore, Snapshot, TreeStore, layer_index};
use crate::{StageError, StageOutput};

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
    /// Facts of so many results were brought back from their files: the index had none at all.
    Recovered(usize),
    /// So many results had a file and no facts in the index, as a build leaves them that is killed between the two. They are
    /// taken over.
    Unrecorded(usize),
    /// Something that is no result's file lay among these, and was removed.
    StrayResult(String),
    /// A blob did not have its name any more, and was removed.
    DamagedBlob(BlobId),
    /// A directory of a tree was damaged, and was forgotten.
    DamagedTree(String),
    /// A layer has no tarball, or one of another size, and was forgotten.
    MissingLayer(String),
    /// A result lacks something, and was forgotten.
    IncompleteResult(ActionKey),
    /// A result's file was damaged, and was removed: nothing else is known of the result.
    DamagedResultFile(ActionKey),
    /// A result's file was damaged or gone, and was written again from the index.
    RewrittenResultFile(ActionKey),
    /// A directory among the unpacked layers that belongs to none, and was removed.
    StrayDirectory(String),
    /// A blob that nothing names. It is left to garbage collection.
    StrayBlob(BlobId),
}

impl Finding {
    /// Whether something was wrong; else it is only of no use.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::StrayBlob(_) | Self::StrayDirectory(_) | Self::Unrecorded(_))
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
    let (done, batch, unreadable) = Default::default();
    let mut check = Check { store, done, batch, unreadable };
    check.index()?;
    check.blobs()?;
    check.result_files()?;
    let layers = check.layers()?;
    let trees = check.trees()?;
    let results = check.results(&layers, &trees)?;
    check.rewrite_files(&results, &trees)?;
    check.strays(&layers, &results)?;
    layer_index::forget_all(store, &mut check.batch)?;
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
    /// Results whose files cannot be read.
    unreadable: BTreeSet<ActionKey>,
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
        for stray in self.store.results().remove_strays()? {
            self.found(Finding::StrayResult(stray));
        }
        let is_empty = self.store.index().scan(Table::Actions, &[])?.is_empty();
        match recover(self.store)? {
            0 => {}
            count if is_empty => self.found(Finding::Recovered(count)),
            count => self.found(Finding::Unrecorded(count)),
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
                self.unreadable.insert(key);
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
    ) -> Result<Vec<(ActionKey, StageOutput)>, StageError> {
        let mut whole = Vec::new();
        for (key, result) in ActionResult::all(self.store)? {
            match result.output::<StageOutput>() {
                Some(output) if self.is_whole(&output, layers, trees)? => whole.push((key, output)),
                _ => {
                    self.batch.delete(Table::Actions, key.as_bytes());
                    package_usage::forget(&mut self.batch, &key);
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
            StageOutput::Snapshot(Snapshot { tree, layers: needed, .. }) => {
                Ok(needed.iter().all(|layer| layers.contains_key(layer))
                    && reached_from(trees, *tree).is_some())
            }
            file => Ok(file.has_blobs(self.store)?),
        }
    }

    /// Lets each result have a file from which it could be recovered, and only those.
    fn rewrite_files(
        &mut self,
        results: &[(ActionKey, StageOutput)],
        trees: &Trees,
    ) -> Result<(), StageError> {
        let there: BTreeSet<_> = self.store.results().list()?.into_iter().collect();
        let mut unreadable = std::mem::take(&mut self.unreadable);
        for (key, output) in results.iter().filter(|(key, _)| !there.contains(key)) {
            self.store.results().write(key, &self.facts_of(key, output, trees)?)?;
            unreadable.remove(key);
            self.found(Finding::RewrittenResultFile(*key));
        }
        unreadable.into_iter().for_each(|key| self.found(Finding::DamagedResultFile(key)));
        Ok(())
    }

    /// Everything that the index knows of a result and of what it stands on. More than its own file has, which leaves to those
    /// of other results what is theirs; but these may be gone.
    fn facts_of(&self, key: &ActionKey, output: &StageOutput, trees: &Trees) -> Result<Batch, StageError> {
        let mut rows = vec![(Table::Actions, key.as_bytes().to_vec())];
        rows.extend(package_usage::rows_of(key).map(|row| (Table::Packages, row)));
        if let StageOutput::Snapshot(Snapshot { tree, layers, .. }) = output {
            rows.extend(layers.iter().map(|layer| (Table::Layers, layer.as_bytes().to_vec())));
            let reached = reached_from(trees, *tree).unwrap_or_default();
            rows.extend(reached.iter().map(|tree| (Table::Trees, tree.as_bytes().to_vec())));
        }
        let mut facts = Batch::default();
        for (table, row) in rows {
            if let Some(value) = self.store.index().get(table, &row)? {
                facts.put(table, &row, value);
            }
        }
        Ok(facts)
    }

    fn strays(
        &mut self,
        layers: &BTreeMap<LayerId, BlobId>,
        results: &[(ActionKey, StageOutput)],
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
        let files = results.iter().flat_map(|(_, output)| output.blobs()).map(|needed| needed.blob);
        let named: BTreeSet<_> = layers.values().copied().chain(files).collect();
        for blob in self.store.blobs().list()? {
            if !named.contains(&blob.digest) {
                self.found(Finding::StrayBlob(blob.digest));
            }
        }
        Ok(())
    }
}

/// Every directory of a tree, if all of them are known.
fn reached_from(trees: &Trees, root: TreeId) -> Option<BTreeSet<TreeId>> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(tree) = open.pop() {
        let children = trees.get(&tree)?;
        if seen.insert(tree) {
            open.extend(children);
        }
    }
    Some(seen)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
