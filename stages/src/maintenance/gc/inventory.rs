//! What is in a store, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ibuild_cache::{ActionKey, BlobId, LayerId, Layout, Sha256, Store, Table, TreeId, Usage};
use ibuild_graph::{ActionResult, LastRun, RememberedStage, RunMemory, StageName};

use super::roots::{self, Needs, Root};
use crate::packages_used::package_usage;
use crate::snapshot::{LayerStore, TreeStore};
use crate::{FailedState, StageError, StageOutput};

/// Everything that a plan is made from. Bytes are those of occupied blocks.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The whole store, with its index and all that is not listed here.
    pub total: u64,
    /// What actions made.
    pub results: BTreeMap<ActionKey, HeldResult>,
    /// Rows and files of results that this version cannot read, or that have no row, and of which there may be evidence.
    pub lost_results: BTreeSet<ActionKey>,
    /// What is known of layers.
    pub layers: BTreeMap<LayerId, HeldLayer>,
    /// All blobs.
    pub blobs: BTreeMap<BlobId, u64>,
    /// Unpacked layers, by the names of their directories.
    pub unpacked: BTreeMap<String, HeldUnpacked>,
    /// The directories of trees, and those directly in them.
    pub trees: BTreeMap<TreeId, Vec<TreeId>>,
    /// The stages' last runs.
    pub last_runs: Vec<LastRunRow>,
    /// What failed stages had made.
    pub failed: Vec<HeldPath>,
    /// Output of stages.
    pub logs: Vec<HeldPath>,
    /// Files that are no target's any more, to be written over.
    pub spares: Vec<HeldSpare>,
    /// How many digests of input files are remembered.
    pub memos: usize,
    /// Files that processes lock while they build an action.
    pub locks: Vec<PathBuf>,
    /// Packages and indices.
    pub packages: Vec<HeldPackage>,
    /// What is kept whatever it weighs.
    pub roots: Vec<Root>,
    /// What each action was made of, as far as it is known.
    pub needs: Needs,
}

/// What an action made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldResult {
    /// What it took to make, in milliseconds.
    pub millis: u64,
    /// Its layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Its tree.
    pub tree: Option<TreeId>,
    /// The blobs of its finished file.
    pub files: Vec<BlobId>,
}

/// A layer of which the index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLayer {
    /// Its tarball.
    pub blob: BlobId,
}

/// A layer's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUnpacked {
    /// What it takes.
    pub bytes: u64,
    /// When it was last of use, as far as the file system tells, seconds since 1970.
    pub used: u64,
}

/// A file that is to be written over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSpare {
    /// Where it is.
    pub path: PathBuf,
    /// What it takes.
    pub bytes: u64,
    /// For how long it has been there, in seconds.
    pub age: u64,
}

/// A stage's last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRunRow {
    /// The project's name.
    pub project: String,
    /// The stage's name.
    pub stage: StageName,
    /// The action that it was.
    pub key: ActionKey,
    /// The trees of files that this run and those before it read: they are compared with the next one's.
    pub inputs: Vec<TreeId>,
}

/// A file or a directory that belongs to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPath {
    /// Where it is.
    pub path: PathBuf,
    /// The project's name.
    pub project: String,
    /// The stage's name.
    pub stage: String,
    /// What it takes.
    pub bytes: u64,
    /// Its age in seconds.
    pub age: u64,
    /// Layers that it stands on.
    pub layers: Vec<LayerId>,
}

/// A package, or an index of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPackage {
    /// Its name.
    pub digest: Sha256,
    /// What it takes.
    pub bytes: u64,
    /// When it came, seconds since 1970.
    pub time: u64,
}

impl Inventory {
    /// Looks at everything in a store.
    pub fn of(store: &Store) -> Result<Self, StageError> {
        let (roots, needs) = roots::find(store)?;
        let mut found =
            Self { roots, needs, total: Usage::of(store.layout().root())?.bytes, ..Self::default() };
        found.read_index(store)?;
        found.look_at_content(store)?;
        found.failed = failed_states(store)?;
        found.logs = logs(store)?;
        found.spares = spares(store)?;
        found.locks = paths_in(&store.layout().locks())?;
        Ok(found)
    }

    fn read_index(&mut self, store: &Store) -> Result<(), StageError> {
        for (key, result) in ActionResult::all(store)? {
            if let Some(output) = result.output::<StageOutput>() {
                self.results.insert(key, HeldResult::of(&output, result.millis));
            }
        }
        let rows = store.index().scan(Table::Actions, &[])?;
        let rows = rows.iter().filter_map(|(key, _)| <[u8; 32]>::try_from(key.as_slice()).ok());
        self.lost_results = package_usage::actions(store)?;
        self.lost_results.extend(rows.map(ActionKey::from_bytes).chain(store.results().list()?));
        self.lost_results.retain(|key| !self.results.contains_key(key));
        for layer in LayerStore::new(store).all()? {
            self.layers.insert(layer.id, HeldLayer { blob: layer.blob });
        }
        for RememberedStage { project, stage, last } in RememberedStage::all(store)? {
            let runs = RunMemory::new(store, &project).last_runs(&stage)?;
            let trees = runs.iter().filter_map(LastRun::description).flat_map(|run| run.trees());
            let inputs = trees.map(TreeId::from_bytes).collect();
            self.last_runs.push(LastRunRow { project, stage, key: last.key, inputs });
        }
        self.memos = store.index().scan(Table::Memo, &[])?.len();
        self.trees = TreeStore::new(store).all_children()?;
        Ok(())
    }

    fn look_at_content(&mut self, store: &Store) -> Result<(), StageError> {
        let blobs = store.blobs();
        for blob in blobs.list()? {
            self.blobs.insert(blob.digest, Usage::of(&blobs.path(&blob.digest))?.bytes);
        }
        for dir in paths_in(&store.layout().layers())? {
            let unpacked = HeldUnpacked { bytes: Usage::of(&dir)?.bytes, used: last_use(&dir) };
            self.unpacked.insert(file_name(&dir), unpacked);
        }
        let packages = store.packages();
        for package in packages.list()? {
            let path = packages.path(&package.digest);
            let (bytes, time) = (Usage::of(&path)?.bytes, last_change(&path));
            self.packages.push(HeldPackage { digest: package.digest, bytes, time });
        }
        Ok(())
    }

    /// The name of a layer's directory.
    pub(super) fn directory_of(layer: &LayerId) -> String {
        Layout::layer_name(layer)
    }
}

impl HeldResult {
    fn of(output: &StageOutput, millis: u64) -> Self {
        match output {
            StageOutput::Snapshot(made) => {
                Self { millis, layers: made.layers.clone(), tree: Some(made.tree), files: Vec::new() }
            }
            file => {
                let files = file.blobs().iter().map(|needed| needed.blob).collect();
                Self { millis, files, ..Self::default() }
            }
        }
    }
}

fn failed_states(store: &Store) -> Result<Vec<HeldPath>, StageError> {
    let mut found = Vec::new();
    for project in paths_in(&store.layout().failed())? {
        for path in paths_in(&project)? {
            let (project, stage) = (file_name(&project), FailedState::stage_of(&file_name(&path)));
            let layers = FailedState::find(store, &project, &stage).map(FailedState::into_layers);
            found.push(held(path, project, stage, layers.unwrap_or_default())?);
        }
    }
    Ok(found)
}

fn logs(store: &Store) -> Result<Vec<HeldPath>, StageError> {
    let mut found = Vec::new();
    for dir in paths_in(&store.layout().logs())? {
        let mut open = paths_in(&dir)?;
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(paths_in(&path)?);
                continue;
            }
            let within = path.strip_prefix(&dir).unwrap_or(&path).with_extension("");
            found.push(held(path.clone(), file_name(&dir), within.display().to_string(), Vec::new())?);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn spares(store: &Store) -> Result<Vec<HeldSpare>, StageError> {
    let spare = |path: PathBuf| Ok(HeldSpare { bytes: Usage::of(&path)?.bytes, age: age(&path), path });
    paths_in(&store.layout().spares())?.into_iter().map(spare).collect()
}

fn held(path: PathBuf, project: String, stage: String, layers: Vec<LayerId>) -> Result<HeldPath, StageError> {
    let (bytes, age) = (Usage::of(&path)?.bytes, age(&path));
    Ok(HeldPath { path, project, stage, bytes, age, layers })
}

fn age(path: &Path) -> u64 {
    seconds(SystemTime::now()).saturating_sub(last_change(path))
}

/// What is in a directory, sorted; nothing if it is not there.
fn paths_in(dir: &Path) -> Result<Vec<PathBuf>, StageError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(StageError::io("read", dir))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(StageError::io("read", dir))?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Capture sets a layer's own times to the recipe's epoch, but nobody can set when its inode last changed, nor does an
/// overlay read its lower directories without moving their access times where those are kept.
fn last_use(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let read = fs::metadata(dir).map_or(0, |meta| meta.atime().max(0) as u64);
    read.max(last_change(dir))
}

fn last_change(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).map_or(0, |meta| meta.ctime().max(0) as u64)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
