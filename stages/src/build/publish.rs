//! Finished images in the project's `out/`: whole or not at all, with a manifest beside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ibuild_cache::{Batch, FileStamp, MemoEntry, Store, Table};
use serde::Serialize;

use super::StageError;
use super::output::Artifact;
use crate::disk::copy_sparsely;

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
    /// The digest of the root file system that it is made of, and of every stage on the way.
    stages: Vec<ManifestStage<'a>>,
}

#[derive(Serialize)]
struct ManifestStage<'a> {
    stage: &'a str,
    tree: String,
}

/// Puts `artifact` into `dir` under the target's name. `stages` are the stages that it is made of, with their trees.
pub fn publish(
    store: &Store,
    dir: &Path,
    target: &str,
    artifact: &Artifact,
    stages: &[(String, ibuild_cache::TreeId)],
) -> Result<Published, StageError> {
    fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
    let path = dir.join(target);
    let manifest = dir.join(format!("{target}.manifest.json"));
    if !is_in_place(store, &path, artifact)? {
        place(store, &path, artifact)?;
    }
    let stages = stages.iter().map(|(stage, tree)| ManifestStage { stage, tree: tree.to_string() });
    let said = Manifest {
        v: 1,
        target,
        size: artifact.size,
        blake3: artifact.blob.hex(),
        sha256: artifact.sha256.hex(),
        stages: stages.collect(),
    };
    let mut text = serde_json::to_string_pretty(&said).expect("a manifest is plain data");
    text.push('\n');
    if fs::read_to_string(&manifest).is_ok_and(|there| there == text) {
        return Ok(Published { path, manifest });
    }
    let temp = temp_beside(&manifest)?;
    fs::write(temp.path(), text).map_err(StageError::io("write", &manifest))?;
    finish(temp, &manifest)?;
    Ok(Published { path, manifest })
}

/// Whether the file there is known to be the artifact: it looks as it did when it was put there.
fn is_in_place(store: &Store, path: &Path, artifact: &Artifact) -> Result<bool, StageError> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(false) };
    let stamp = FileStamp::of(&meta);
    let known: Option<MemoEntry> = store.index().record(Table::Memo, &stamp.key())?;
    Ok(known.is_some_and(|known| known.stamp == stamp && known.digest == artifact.blob))
}

fn place(store: &Store, path: &Path, artifact: &Artifact) -> Result<(), StageError> {
    let temp = temp_beside(path)?;
    let blob = store.blobs().path(&artifact.blob);
    copy_sparsely(&blob, temp.path(), &|_, _| {})?;
    finish(temp, path)?;
    // Nobody else writes to a file that has just got its name, so its stamp is good although it is young.
    let stamp = FileStamp::of(&fs::metadata(path).map_err(StageError::io("look at", path))?);
    let mut batch = Batch::default();
    batch.put_record(Table::Memo, &stamp.key(), &MemoEntry { stamp: stamp.clone(), digest: artifact.blob });
    Ok(store.index().commit(batch)?)
}

fn temp_beside(path: &Path) -> Result<tempfile::NamedTempFile, StageError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".ibuild-").tempfile_in(dir).map_err(StageError::io("write into", dir))
}

/// Flush, then rename: a crash leaves the old file or the new one, and never half of it.
fn finish(temp: tempfile::NamedTempFile, path: &Path) -> Result<(), StageError> {
    use std::os::unix::fs::PermissionsExt;
    let error = || StageError::io("write", path);
    File::open(temp.path()).and_then(|file| file.sync_data()).map_err(error())?;
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o644)).map_err(error())?;
    temp.persist(path).map_err(|e| error()(e.error))?;
    Ok(())
}
