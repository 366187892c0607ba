//! The results of somebody else: a second store, a directory of images with their manifests, one manifest, or a build record. Only
//! digests are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use ibuild_cache::Store;
use ibuild_graph::{RecordedStage, RunMemory, StageId};
use ibuild_stages::host::bounded;
use ibuild_stages::release::{RecordedStage as RecordedThere, Statement};
use ibuild_stages::snapshot::hash_bytes;
use ibuild_stages::{Project, StageOutput};
use serde::Deserialize;

use super::{Workspace, open_store};
use crate::error::{Context, EnvironmentError, Result, UsageError};
use crate::release::read_record;

/// How a stage compares with that of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Both made the same.
    Same,
    /// They made different things. Digests in hexadecimal, of trees or of files.
    Differs {
        /// What is in the store.
        here: String,
        /// What somebody else has.
        there: String,
        /// Whether both are of one action, as far as that is known.
        action: Action,
    },
    /// Nothing is known of the other.
    Unknown,
}

/// Whether two results are of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Everything that can change the result was the same.
    Same,
    /// Something that it was made of was another.
    Other,
    /// A manifest does not tell.
    Unknown,
}

/// Manifests are small; a larger file is none.
const LONGEST_MANIFEST: u64 = 16 << 20;

const MANIFEST: &str = ".manifest.json";

/// What is needed of the file beside an image.
#[derive(Deserialize)]
struct Manifest {
    target: String,
    blake3: String,
    stages: Vec<ManifestStage>,
}

#[derive(Deserialize)]
struct ManifestStage {
    stage: String,
    tree: String,
}

/// The digests of somebody else.
enum Other {
    Store(Store),
    Manifests(BTreeMap<String, String>),
    Record(Statement),
}

impl Workspace {
    /// Compares the stages of some targets with the results of somebody else, by their digests. In build order.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, for stages that are not built, and
    /// if `other` is neither a store, nor a directory with images, nor a manifest. Of kind
    /// [`Environment`](crate::ErrorKind::Environment), if it says nothing about any of the stages.
    pub fn compare_with(&self, names: &[String], other: &Path) -> Result<Vec<(StageId, Compared)>> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let stages = self.built(&project, &executor, &self.wanted(&project, names)?)?;
        let other = self.other(other)?;
        let mut compared = Vec::new();
        for stage in &stages {
            compared.push((stage.stage, self.compare_stage(&project, stage, &other)?));
        }
        if compared.iter().all(|(_, compared)| *compared == Compared::Unknown) {
            let message = "nothing there is of a stage or an image of this project".to_owned();
            let hint = "`ibuild cache ls` lists what a store has; a manifest lies beside each built image"
                .to_owned();
            return Err(EnvironmentError { message, hint }.into());
        }
        Ok(compared)
    }

    fn other(&self, path: &Path) -> Result<Other> {
        let missing = |_| UsageError::new(format!("there is no `{}`", path.display()));
        let meta = fs::metadata(path).map_err(missing)?;
        if meta.is_file() {
            if let Ok(record) = read_record(path, None) {
                return Ok(Other::Record(record));
            }
            let mut digests = BTreeMap::new();
            read_manifest(path, &mut digests)?;
            return Ok(Other::Manifests(digests));
        }
        if path.join("format").is_file() {
            return Ok(Other::Store(open_store(Some(path), &self.settings)?));
        }
        let mut digests = BTreeMap::new();
        let context = || format!("cannot read `{}`", path.display());
        for entry in fs::read_dir(path).with_context(context)? {
            let entry = entry.with_context(context)?.path();
            if entry.to_string_lossy().ends_with(MANIFEST) {
                read_manifest(&entry, &mut digests)?;
            }
        }
        if digests.is_empty() {
            let message = format!("`{}` is neither a store nor a directory with images", path.display());
            let hint = "beside each image that ibuild built lies its manifest, `IMAGE.manifest.json`";
            return Err(UsageError::new(message).hint(hint).into());
        }
        Ok(Other::Manifests(digests))
    }

    fn compare_stage(
        &self,
        project: &Project<'_>,
        stage: &RecordedStage<StageOutput>,
        other: &Other,
    ) -> Result<Compared> {
        let (name, here) = (project.graph.name(stage.stage), stage.output.digest());
        let there = match other {
            Other::Manifests(digests) => digests.get(name.as_str()).map(|it| (it.clone(), Action::Unknown)),
            Other::Record(record) => {
                let there = record.stages.iter().find(|it| it.stage == name.as_str());
                let is_same = |it: &RecordedThere| it.action == stage.description.key().hex();
                there.map(|it| (it.output.clone(), if is_same(it) { Action::Same } else { Action::Other }))
            }
            Other::Store(store) => {
                let memory = RunMemory::new(store, self.recipe.project.name.as_str());
                match memory.result(&stage.description.key())?.and_then(|it| it.output::<StageOutput>()) {
                    Some(output) => Some((output.digest(), Action::Same)),
                    None => {
                        let last = memory.last_output::<StageOutput>(name)?;
                        last.map(|output| (output.digest(), Action::Other))
                    }
                }
            }
        };
        Ok(match there {
            None => Compared::Unknown,
            Some((there, _)) if there == here => Compared::Same,
            Some((there, action)) => Compared::Differs { here, there, action },
        })
    }

    /// The stages with what the store has of them.
    pub(super) fn built(
        &self,
        project: &Project<'_>,
        executor: &ibuild_stages::StageExecutor<'_>,
        wanted: &BTreeSet<StageId>,
    ) -> Result<Vec<RecordedStage<StageOutput>>> {
        let found = self.recorded(executor, wanted)?;
        if let Some(stage) = found.missing.iter().find(|stage| wanted.contains(stage)) {
            let error = UsageError::new(format!("`{}` is not built", project.graph.name(*stage)));
            return Err(error.hint("`ibuild build` makes what is missing").into());
        }
        Ok(found.stages.into_iter().filter(|stage| wanted.contains(&stage.stage)).collect())
    }
}

/// Adds the digests of a manifest: of the stages, and of the image, whose bytes count if they are there.
fn read_manifest(path: &Path, digests: &mut BTreeMap<String, String>) -> Result<()> {
    let context = || format!("cannot read `{}`", path.display());
    let bytes = bounded::read(path, LONGEST_MANIFEST).with_context(context)?;
    let malformed =
        |error| UsageError::new(format!("`{}` is not a manifest of ibuild: {error}", path.display()));
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(malformed)?;
    let hex = |digest: &str| digest.trim_start_matches("b3:").to_owned();
    let mut claim = |name: String, digest: String| {
        if digest.len() != 64 || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(UsageError::new(format!("`{}` has something else than digests", path.display())));
        }
        match digests.insert(name.clone(), digest.clone()) {
            Some(other) if other != digest => {
                let message = format!("the manifests there do not agree about `{}`", name.escape_debug());
                Err(UsageError::new(message).hint("name one of them: `--against IMAGE.manifest.json`"))
            }
            _ => Ok(()),
        }
    };
    for ManifestStage { stage, tree } in manifest.stages {
        claim(stage, hex(&tree))?;
    }
    let image = path.to_string_lossy();
    let image = Path::new(image.strip_suffix(MANIFEST).unwrap_or_default());
    let unreadable = || format!("cannot read `{}`", image.display());
    let digest = match fs::metadata(image) {
        Ok(meta) if meta.is_file() => {
            hash_bytes(&File::open(image).with_context(unreadable)?).with_context(unreadable)?.hex()
        }
        Ok(_) => return Err(UsageError::new(format!("`{}` is not a file", image.display())).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => hex(&manifest.blake3),
        Err(error) => return Err(error).with_context(unreadable),
    };
    Ok(claim(manifest.target, digest)?)
}
