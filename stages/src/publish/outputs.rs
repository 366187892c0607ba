//! Finished images in the project's `out/`: whole or not at all, with a manifest beside them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::{Cancel, FileStamp, MemoEntry, Record, Store, Table};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::StageError;
use crate::host::bounded;
use crate::output::{Artifact, StageOutput};
use crate::publish::pending_artifacts::PendingArtifacts;
use crate::publish::place::{Place, flush, sweep, temp_in};
use crate::publish::previous_output::PreviousOutput;
use crate::publish::restore::{compose_into, restore};
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

/// A finished file that is wanted somewhere.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The project's name.
    pub project: &'a str,
    /// Its target.
    pub target: &'a str,
    /// What the target's stage made.
    pub output: &'a StageOutput,
    /// The stages that it is made of, with what they made.
    pub stages: &'a [(&'a str, &'a Snapshot)],
}

/// Puts a file into `dir` under its target's name. One that this build has `finished` is moved there, others are made of what
/// the store has, over the target's spare file if it has one.
///
/// Both files are written whole and made durable before either gets its name: when there is no room for them, those of
/// an earlier build stay as they are. What is put there has been compared with its digest. A manifest never lies beside another image
/// than its own. What killed builds have left in `dir` goes.
///
/// # Panics
///
/// If the target is no file.
pub fn publish(
    store: &Store,
    finished: &PendingArtifacts,
    dir: &Path,
    wanted: Wanted<'_>,
) -> Result<Published, StageError> {
    fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
    let artifact = wanted.output.artifact().expect("a target is a file");
    let path = dir.join(wanted.target);
    let manifest = dir.join(format!("{}.manifest.json", wanted.target));
    let text = manifest_of(wanted.target, artifact, wanted.stages);
    sweep(dir);
    // Longer than this one, it is another one.
    let said = bounded::read(&manifest, text.len() as u64);
    let is_said = said.is_ok_and(|there| there == text.as_bytes());
    let said = if is_said { None } else { Some(write(dir, &manifest, &text)?) };
    let is_there = is_in_place(store, &path, artifact)?;
    if is_there && said.is_none() {
        return Ok(Published { path, manifest });
    }
    if !is_there {
        let place = Place { dir, image: &path, stale: said.as_ref().map(|_| manifest.as_path()) };
        if !finished.take(&artifact.blob, &place)? {
            put(store, &place, wanted, finished.cancel())?;
        }
        remember(store, &path, artifact)?;
    }
    if let Some(said) = said {
        give_name(said, &manifest).map_err(StageError::io("write", &manifest))?;
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

/// Makes a file of what the store has.
fn put(store: &Store, place: &Place<'_>, wanted: Wanted<'_>, cancel: &Cancel) -> Result<(), StageError> {
    if let StageOutput::Composed(made) = wanted.output
        && restore(store, made, PreviousOutput::of(store, wanted.project, wanted.target), place, cancel)?
    {
        return Ok(());
    }
    let copy = copy(store, place, wanted.output, cancel)?;
    place.fill(|image| give_name(copy, image)).map_err(StageError::io("write", place.image))
}

/// A copy of a file beside its place.
fn copy(
    store: &Store,
    place: &Place<'_>,
    output: &StageOutput,
    cancel: &Cancel,
) -> Result<NamedTempFile, StageError> {
    let temp = temp_in(place.dir)?;
    let is_whole = match output {
        StageOutput::Composed(made) => compose_into(store, temp.path(), made, cancel)?,
        StageOutput::Artifact(file) => store.blobs().copy(&file.blob, temp.path(), cancel)?,
        StageOutput::Snapshot(_) => unreachable!("a root file system is no file"),
    };
    match output.artifact() {
        Some(file) if !is_whole => Err(StageError::DamagedArtifact(file.blob)),
        _ => flush(temp, place.image),
    }
}

/// A text beside its place.
fn write(dir: &Path, path: &Path, text: &str) -> Result<NamedTempFile, StageError> {
    let temp = temp_in(dir)?;
    fs::write(temp.path(), text).map_err(StageError::io("write", path))?;
    flush(temp, path)
}

fn give_name(temp: NamedTempFile, path: &Path) -> io::Result<()> {
    temp.persist(path).map(drop).map_err(|error| error.error)
}

/// Nobody else writes to a file that has just got its name, so its stamp is good although it is young. But where the file
/// system counts in whole seconds, somebody who writes to it next may do so within the same one.
fn remember(store: &Store, path: &Path, artifact: &Artifact) -> Result<(), StageError> {
    let stamp = FileStamp::of(&fs::metadata(path).map_err(StageError::io("look at", path))?);
    if stamp.is_coarse() {
        return Ok(());
    }
    let entry = MemoEntry { stamp: stamp.clone(), digest: artifact.blob };
    store.index().hint(Table::Memo, &stamp.key(), entry.to_bytes());
    Ok(())
}
