//! Takes results out of an archive.

use std::collections::BTreeMap;
use std::sync::Arc;

use ibuild_cache::{ActionKey, Batch, Cancel, LayerId, ResultFiles, Store, Table};
use ibuild_graph::ActionResult;

use super::import_error::ImportError;
use super::manifest::{Entry, ExportedLayer, ExportedOutput, ExportedResult, LayerShape, Manifest};
use super::received::{Received, composed};
use super::source::Source;
use crate::StageOutput;
use crate::output::Artifact;
use crate::packages_used::package_usage;
use crate::snapshot::capture::{CaptureContext, capture_until};
use crate::snapshot::volatile::VolatileList;
use crate::snapshot::{Layer, OwnLayer, RecentTrees, Shape, Snapshot, TreeStore};

/// The rows of one action; apt's requests of a large stage are some hundred kilobytes.
const MOST_ROWS: u64 = 64 << 20;

/// Whom an archive has to be from.
pub trait Trust {
    /// Whether a manifest, with the signature that came with it if one did, is from somebody who is trusted; else why not.
    ///
    /// # Errors
    ///
    /// In a sentence.
    fn accepts(&self, manifest: &[u8], signature: Option<&[u8]>) -> Result<(), String>;
}

/// What came of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Results that the store did not have.
    pub new: usize,
    /// Results that it had.
    pub known: usize,
    /// Packages and indices in the archive.
    pub packages: usize,
}

/// Takes all results of an archive into a store, or none. Results that the store has stay as they are.
///
/// # Errors
///
/// With the first thing that is wrong; the store is then as it was.
pub fn import(
    store: &Store,
    mut source: Source,
    trust: &dyn Trust,
    cancel: &Cancel,
) -> Result<Imported, ImportError> {
    let mut files = source.files().map_err(ImportError::Read)?;
    let (text, signature) = files.manifest()?;
    trust.accepts(&text, signature.as_deref()).map_err(ImportError::Untrusted)?;
    let manifest = Manifest::read(&text)?;
    let received = Received::take(store, &manifest, &mut files, cancel)?;
    let layers = manifest.layers.iter().map(|layer| (layer.layer, layer)).collect();
    let recent = Arc::new(RecentTrees::default());
    let mut import = Import { store, received, layers, recent, snapshots: BTreeMap::new(), cancel };
    let results =
        manifest.results.iter().map(|result| import.check(result)).collect::<Result<Vec<_>, _>>()?;
    import.received.adopt(store, &manifest)?;
    let packages = manifest.entries.iter().filter(|entry| matches!(entry, Entry::Package { .. })).count();
    let (mut imported, mut all) = (Imported { packages, ..Imported::default() }, Batch::default());
    for (key, facts) in results {
        if store.index().get(Table::Actions, key.as_bytes())?.is_some() {
            imported.known += 1;
            // What is known may be something else, and later results stand on what the archive has.
            let mut below = facts;
            below.retain(|table| matches!(table, Table::Layers | Table::Trees));
            all.append(below);
            continue;
        }
        // First the file, as when a stage has run.
        store.results().write(&key, &facts)?;
        all.append(facts);
        imported.new += 1;
    }
    store.index().commit(all)?;
    Ok(imported)
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    received: Received<'a>,
    layers: BTreeMap<LayerId, &'a ExportedLayer>,
    recent: Arc<RecentTrees>,
    /// What was found of each action so far.
    snapshots: BTreeMap<ActionKey, Snapshot>,
    cancel: &'a Cancel,
}

impl Import<'_> {
    /// Checks a result, and makes the facts of it.
    fn check(&mut self, result: &ExportedResult) -> Result<(ActionKey, Batch), ImportError> {
        let mut facts = Batch::default();
        let output = match &result.output {
            ExportedOutput::Tree { parent, layer, shape, .. } => {
                let parent = parent.and_then(|parent| self.snapshots.get(&parent).cloned());
                let snapshot = match layer {
                    Some(layer) => self.put_upon(parent.as_ref(), *layer, *shape, &mut facts)?,
                    None => parent.ok_or_else(|| ImportError::Tree(result.stage.clone()))?,
                };
                self.check_tree(result, &snapshot)?;
                self.snapshots.insert(result.key, snapshot.clone());
                StageOutput::Snapshot(snapshot)
            }
            ExportedOutput::File { file } => {
                StageOutput::Artifact(Artifact { blob: file.blob, size: file.size })
            }
            ExportedOutput::Composed { file, composition, packs } => {
                let made = composed(file, composition, packs);
                if !self.received.composes(&made)? {
                    return Err(ImportError::Composition(result.stage.clone()));
                }
                StageOutput::Composed(made)
            }
        };
        self.add_packages(result, &mut facts)?;
        facts.put_record(Table::Actions, result.key.as_bytes(), &ActionResult::new(&output, result.millis));
        Ok((result.key, facts))
    }

    fn check_tree(&self, result: &ExportedResult, snapshot: &Snapshot) -> Result<(), ImportError> {
        match &result.output {
            ExportedOutput::Tree { tree, .. } if *tree == snapshot.tree => Ok(()),
            _ => Err(ImportError::Tree(result.stage.clone())),
        }
    }

    /// Puts a layer upon a root file system, as if a stage had just made it.
    fn put_upon(
        &self,
        parent: Option<&Snapshot>,
        id: LayerId,
        shape: LayerShape,
        facts: &mut Batch,
    ) -> Result<Snapshot, ImportError> {
        let layer = self.layers[&id];
        let dir = self.received.unpack(layer)?;
        let trees = TreeStore::beside(self.store, self.recent.clone());
        // Directories have no other time than the epoch, and each layer has the root directory.
        let root = std::fs::metadata(&dir).map_err(ImportError::Read)?;
        let epoch = std::os::unix::fs::MetadataExt::mtime(&root);
        let context = CaptureContext { trees: &trees, epoch, volatile: VolatileList::with(&[]) };
        let captured = capture_until(self.cancel, &context, &dir, parent.map(|parent| parent.tree))?;
        trees.flush(facts);
        // A capture leaves out what no layer may hold. Stages see the layer itself, so it has to be the one that they would have made.
        if !self.received.is_layer(&dir, &captured.changes, &id)? {
            return Err(ImportError::NotMade(id.short()));
        }
        let record = Layer {
            id,
            blob: layer.tarball.blob,
            raw_size: layer.raw_size,
            blob_size: layer.tarball.size,
            changes: captured.changes.len() as u64,
        };
        facts.put_record(Table::Layers, id.as_bytes(), &record);
        let own = match shape {
            LayerShape::Changes => OwnLayer { id, shape: Shape::of(&captured.changes) },
            LayerShape::Name => OwnLayer::from(id),
        };
        Ok(Snapshot::upon(parent, captured.tree, Some(own)))
    }

    /// Takes over how an action came to its packages: rows of that action, and of nothing else.
    fn add_packages(&self, result: &ExportedResult, facts: &mut Batch) -> Result<(), ImportError> {
        let Some(blob) = &result.packages else { return Ok(()) };
        let malformed = || ImportError::Packages(result.stage.clone());
        let bytes = self.received.read(blob)?;
        let rows = ResultFiles::decode(&bytes, &result.key, MOST_ROWS).ok_or_else(malformed)?;
        let own: Vec<_> = package_usage::rows_of(&result.key).collect();
        let is_own =
            |(table, key): (Table, &[u8])| table == Table::Packages && own.iter().any(|row| row == key);
        if !rows.rows().all(is_own) {
            return Err(malformed());
        }
        facts.append(rows);
        match package_usage::is_well_formed(facts, &result.key) {
            true => Ok(()),
            false => Err(malformed()),
        }
    }
}
