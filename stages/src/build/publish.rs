//! Finished images in the project's `out/`: whole or not at all, with a manifest beside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ibuild_cache::{Batch, FileStamp, MemoEntry, Store, Table};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::StageError;
use super::output::Artifact;
use crate::snapshot::Snapshot;

/// An image in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The file.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: PathBuf,
}

/// What is said of an image. The same for everybody who builds the same, so no time and no machine is in it.
#[derive(Serialize)]
struct Manifest<'a> {
    v: u32,
    target: &'a str,
    size: u64,
    blake3: String,
    sha256: String,
    /// The stages that made the root file system that it is of, that one last.
    stages: Vec<ManifestStage<'a>>,
    /// By which layers the root file system is made, lowest first: a disk is laid out by them.
    layers: Vec<String>,
}

#[derive(Serialize)]
struct ManifestStage<'a> {
    stage: &'a str,
    /// The root file system that it made.
    tree: String,
}

/// Puts `artifact` into `dir` under the target's name. `stages` are the stages that it is made of, with what they made.
///
/// Both files are written whole and made durable before either gets its name: when there is no room for them, those of
/// an earlier build stay as they are. What is put there has been compared with its digest.
pub fn publish(
    store: &Store,
    dir: &Path,
    target: &str,
    artifact: &Artifact,
    stages: &[(&str, &Snapshot)],
) -> Result<Published, StageError> {
    fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
    let path = dir.join(target);
    let manifest = dir.join(format!("{target}.manifest.json"));
    let text = manifest_of(target, artifact, stages);
    let image = if is_in_place(store, &path, artifact)? { None } else { Some(copy(store, &path, artifact)?) };
    let is_said = fs::read_to_string(&manifest).is_ok_and(|there| there == text);
    let said = if is_said { None } else { Some(write(&manifest, &text)?) };
    if image.is_none() && said.is_none() {
        return Ok(Published { path, manifest });
    }
    if let Some(image) = image {
        give_name(image, &path)?;
        remember(store, &path, artifact)?;
    }
    if let Some(said) = said {
        give_name(said, &manifest)?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StageError::io("flush", dir))?;
    Ok(Published { path, manifest })
}

fn manifest_of(target: &str, artifact: &Artifact, stages: &[(&str, &Snapshot)]) -> String {
    let layers = stages.last().map_or(&[][..], |(_, made)| &made.layers);
    let stages = stages.iter().map(|(stage, made)| ManifestStage { stage, tree: made.tree.to_string() });
    let said = Manifest {
        v: 1,
        target,
        size: artifact.size,
        blake3: artifact.blob.hex(),
        sha256: artifact.sha256.hex(),
        stages: stages.collect(),
        layers: layers.iter().map(ToString::to_string).collect(),
    };
    serde_json::to_string_pretty(&said).expect("a manifest is plain data") + "\n"
}

/// Whether the file there is known to be the artifact: it looks as it did when it was put there.
fn is_in_place(store: &Store, path: &Path, artifact: &Artifact) -> Result<bool, StageError> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(false) };
    let stamp = FileStamp::of(&meta);
    let known: Option<MemoEntry> = store.index().record(Table::Memo, &stamp.key())?;
    Ok(known.is_some_and(|known| known.stamp == stamp && known.digest == artifact.blob))
}

/// A copy of the artifact beside its place.
fn copy(store: &Store, path: &Path, artifact: &Artifact) -> Result<NamedTempFile, StageError> {
    let temp = temp_beside(path)?;
    if !store.blobs().copy(&artifact.blob, temp.path())? {
        return Err(StageError::DamagedArtifact(artifact.blob));
    }
    flush(temp, path)
}

/// A text beside its place.
fn write(path: &Path, text: &str) -> Result<NamedTempFile, StageError> {
    let temp = temp_beside(path)?;
    fs::write(temp.path(), text).map_err(StageError::io("write", path))?;
    flush(temp, path)
}

fn temp_beside(path: &Path) -> Result<NamedTempFile, StageError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".ibuild-").tempfile_in(dir).map_err(StageError::io("write into", dir))
}

fn flush(temp: NamedTempFile, path: &Path) -> Result<NamedTempFile, StageError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o644);
    let flushed = temp.as_file().set_permissions(mode).and_then(|()| temp.as_file().sync_data());
    flushed.map_err(StageError::io("write", path))?;
    Ok(temp)
}

fn give_name(temp: NamedTempFile, path: &Path) -> Result<(), StageError> {
    temp.persist(path).map_err(|e| StageError::io("write", path)(e.error))?;
    Ok(())
}

/// Nobody else writes to a file that has just got its name, so its stamp is good although it is young.
fn remember(store: &Store, path: &Path, artifact: &Artifact) -> Result<(), StageError> {
    let stamp = FileStamp::of(&fs::metadata(path).map_err(StageError::io("look at", path))?);
    let mut batch = Batch::default();
    batch.put_record(Table::Memo, &stamp.key(), &MemoEntry { stamp: stamp.clone(), digest: artifact.blob });
    // It only saves time: an image that is in its place is there, whether or not the store can be written.
    let _ = store.index().commit(batch);
    Ok(())
}
