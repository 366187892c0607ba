//! Writes results into an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ibuild_cache::{ActionKey, Batch, BlobId, LayerId, Sha256, Store, Table};
use ibuild_graph::RecordedStage;

use super::manifest::{
    Entry, ExportedBlob, ExportedLayer, ExportedOutput, ExportedResult, LayerShape, MANIFEST, Manifest,
    SIGNATURE,
};
use super::sink::Sink;
use crate::output::StoredBlob;
use crate::packages_used::package_usage;
use crate::project::{Job, Project};
use crate::snapshot::{LayerStore, OwnLayer, Snapshot};
use crate::{StageError, StageOutput};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Results.
    pub results: usize,
    /// Bytes of everything but the manifest.
    pub bytes: u64,
}

/// Results that are to be exported.
pub struct Export<'s> {
    store: &'s Store,
    manifest: Manifest,
    /// What is known of packages, which no blob has.
    facts: BTreeMap<BlobId, Vec<u8>>,
    blobs: BTreeSet<BlobId>,
    keys: BTreeSet<ActionKey>,
}

/// Collects results, which come with all that they stand on, in build order, and packages by their SHA-256.
///
/// # Errors
///
/// If something of them is not in the store any more.
pub fn export<'s>(
    store: &'s Store,
    project: &Project<'_>,
    stages: &[RecordedStage<StageOutput>],
    packages: &BTreeSet<Sha256>,
) -> Result<Export<'s>, StageError> {
    let mut export = Export {
        store,
        manifest: Manifest::new(),
        facts: BTreeMap::new(),
        blobs: BTreeSet::new(),
        keys: BTreeSet::new(),
    };
    let keys: BTreeMap<_, _> = stages.iter().map(|stage| (stage.stage, stage.description.key())).collect();
    for stage in stages {
        let parent = match project.job(stage.stage) {
            Job::Step { .. } => project.graph.inputs(stage.stage).first().and_then(|parent| keys.get(parent)),
            Job::Image { .. } => None,
        };
        export.add(project.graph.name(stage.stage).as_str(), stage, parent.copied())?;
    }
    for sha256 in packages {
        if let Some(size) = store.packages().size(sha256)? {
            export.manifest.entries.push(Entry::Package { sha256: *sha256, size });
        }
    }
    Ok(export)
}

impl Export<'_> {
    fn add(
        &mut self,
        name: &str,
        stage: &RecordedStage<StageOutput>,
        parent: Option<ActionKey>,
    ) -> Result<(), StageError> {
        let key = stage.description.key();
        // Two root file systems may begin with the same step: it is one action, and has one result.
        if !self.keys.insert(key) {
            return Ok(());
        }
        let output = match &stage.output {
            StageOutput::Snapshot(snapshot) => self.tree(stage, snapshot, parent)?,
            StageOutput::Artifact(file) => {
                let file = ExportedBlob { blob: file.blob, size: file.size };
                self.blob(file);
                ExportedOutput::File { file }
            }
            StageOutput::Composed(made) => {
                let exported = |it: &StoredBlob| ExportedBlob { blob: it.blob, size: it.size };
                let (composition, packs) =
                    (exported(&made.composition), made.packs.iter().map(exported).collect());
                let file = ExportedBlob { blob: made.file.blob, size: made.file.size };
                self.blob(composition);
                made.packs.iter().for_each(|pack| self.blob(exported(pack)));
                ExportedOutput::Composed { file, composition, packs }
            }
        };
        let packages = self.packages(&key)?;
        let (stage, millis) = (name.to_owned(), stage.millis);
        self.manifest.results.push(ExportedResult { stage, key, millis, output, packages });
        Ok(())
    }

    fn tree(
        &mut self,
        stage: &RecordedStage<StageOutput>,
        snapshot: &Snapshot,
        parent: Option<ActionKey>,
    ) -> Result<ExportedOutput, StageError> {
        let below = parent.and(stage.inputs.first()).and_then(StageOutput::snapshot);
        let layer = match below {
            Some(below) => snapshot.own_layer(below.tree),
            None => snapshot.layers.last().copied(),
        };
        if let Some(layer) = layer {
            self.layer(layer)?;
        }
        let by_name = Snapshot::upon(below, snapshot.tree, layer.map(OwnLayer::from));
        let shape = if by_name.shape == snapshot.shape { LayerShape::Name } else { LayerShape::Changes };
        Ok(ExportedOutput::Tree { parent, tree: snapshot.tree, layer, shape })
    }

    fn layer(&mut self, id: LayerId) -> Result<(), StageError> {
        if self.manifest.layers.iter().any(|known| known.layer == id) {
            return Ok(());
        }
        let found = LayerStore::new(self.store).find(&id)?;
        let layer = found.ok_or(crate::snapshot::SnapshotError::MissingLayer(id))?;
        let tarball = ExportedBlob { blob: layer.blob, size: layer.blob_size };
        self.blob(tarball);
        self.manifest.layers.push(ExportedLayer { layer: id, raw_size: layer.raw_size, tarball });
        Ok(())
    }

    fn blob(&mut self, file: ExportedBlob) {
        if self.blobs.insert(file.blob) {
            self.manifest.entries.push(Entry::Blob { file });
        }
    }

    /// How an action came to its packages: the rows of the index, as they are beside a result.
    fn packages(&mut self, key: &ActionKey) -> Result<Option<BlobId>, StageError> {
        let mut rows = Batch::default();
        for row in package_usage::rows_of(key) {
            if let Some(value) = self.store.index().get(Table::Packages, &row)? {
                rows.put(Table::Packages, &row, value);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let bytes = ibuild_cache::ResultFiles::encode(key, &rows)
            .map_err(StageError::io("compress", self.store.layout().root()))?;
        let blob = BlobId::from_bytes(*blake3::hash(&bytes).as_bytes());
        self.blob(ExportedBlob { blob, size: bytes.len() as u64 });
        self.facts.insert(blob, bytes);
        Ok(Some(blob))
    }

    /// The manifest's text, for whoever signs it.
    pub fn manifest(&self) -> String {
        self.manifest.to_text()
    }

    /// Writes the archive, with a signature of its manifest if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or if a blob is damaged.
    pub fn write(self, mut sink: Sink, signature: Option<&[u8]>) -> Result<Exported, StageError> {
        let root = self.store.layout().root().to_owned();
        let failed = |error| StageError::io("write an archive from", &root)(error);
        match &sink {
            // Who reads a stream wants to know first what comes.
            Sink::Tar(_) => {
                self.write_manifest(&mut sink, signature).map_err(failed)?;
                self.write_entries(&mut sink)?;
            }
            // A manifest that is there has everything that it names.
            Sink::Directory(_) => {
                self.write_entries(&mut sink)?;
                sink.remove(SIGNATURE).map_err(failed)?;
                self.write_manifest(&mut sink, signature).map_err(failed)?;
            }
        }
        sink.finish().map_err(failed)?;
        let bytes = self.manifest.entries.iter().map(Entry::size).sum();
        Ok(Exported { results: self.manifest.results.len(), bytes })
    }

    fn write_manifest(&self, sink: &mut Sink, signature: Option<&[u8]>) -> io::Result<()> {
        let text = self.manifest.to_text();
        sink.add(MANIFEST, text.len() as u64, text.as_bytes())?;
        match signature {
            Some(signature) => sink.add(SIGNATURE, signature.len() as u64, signature),
            None => Ok(()),
        }
    }

    fn write_entries(&self, sink: &mut Sink) -> Result<(), StageError> {
        self.manifest.entries.iter().try_for_each(|entry| self.write_entry(sink, entry))
    }

    fn write_entry(&self, sink: &mut Sink, entry: &Entry) -> Result<(), StageError> {
        let root = self.store.layout().root();
        let failed = |error| StageError::io("write an archive from", root)(error);
        let gone = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{}` is not in the store any more", entry.name()),
            )
        };
        let (name, size) = (entry.name(), entry.size());
        let file = match entry {
            Entry::Blob { file } => match self.facts.get(&file.blob) {
                Some(bytes) => return sink.add(&name, size, bytes.as_slice()).map_err(failed),
                None => self.store.blobs().open(&file.blob)?,
            },
            Entry::Package { sha256, .. } => self.store.packages().open(sha256)?,
        };
        sink.add(&name, size, file.ok_or_else(gone).map_err(failed)?).map_err(failed)
    }
}
