//! A release: images with everything that belongs to them.

mod dependencies;
mod documents;
mod facts;
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibuild_stages::packages::Lock;
use ibuild_stages::release::{Changes, Edition, ImageFacts, ListedPackage, PackageFacts, ReleaseFacts, Size};
use ibuild_stages::{Project, Target};

pub use record::{ComparedRecord, RecordedVerdict, SameAction};

use self::documents::Documents;
use super::names::requested_targets;
use super::{BuildObserver, BuildRequest, ExecutionOptions, LOCK_FILE, Workspace};
use crate::error::{Context, Result};
use crate::release::{FileDigests, Index, IndexedImage, builder_version, write_sums};

/// The recipe's name in a release.
pub const RELEASED_RECIPE: &str = "recipe.toml";

/// What is to be released.
#[derive(Debug, Clone, Default)]
pub struct ReleaseRequest {
    /// Targets, or images, which mean their listed formats. None mean all images.
    pub targets: Vec<String>,
    /// The release's version.
    pub version: String,
    /// An earlier release that this one is compared with.
    pub previous: Option<Edition>,
    /// How stages are executed.
    pub execution: ExecutionOptions,
}

impl Workspace {
    /// Builds targets and puts them into an empty directory with checksums, lists, bills of materials, build records and what changed.
    /// Nothing is signed. The program has called [`begin`](crate::begin) and [`become_root`](crate::become_root).
    ///
    /// Whoever releases the same commit with the same ibuild gets the same files, byte for byte.
    ///
    /// # Errors
    ///
    /// As [`Workspace::build`]; if a file cannot be written.
    pub fn fill_release<O: BuildObserver + 'static>(
        &self,
        request: &ReleaseRequest,
        dir: &Path,
        observer: Arc<O>,
    ) -> Result<()> {
        let project = self.project();
        let targets = requested_targets(&project, &request.targets)?;
        let build = BuildRequest {
            output: Some(dir.to_owned()),
            execution: request.execution.clone(),
            ..BuildRequest::of(request.targets.iter().cloned())
        };
        self.build(&build, observer.clone())?;
        let shared = self.share_store(|text| observer.note("store", text))?;
        let lock = self.released_lock()?;
        let release = self.release_facts(&request.version);
        let documents = Documents { workspace: self, project: &project, release: &release, lock: &lock, dir };
        let images = documents.write_images(&targets)?;
        drop(shared);
        let edition = self.edition(&release, &images, &lock);
        write(dir, RELEASED_RECIPE, &edition.recipe)?;
        write(dir, LOCK_FILE, &lock.to_text())?;
        if let Some(previous) = &request.previous {
            let text = Changes { old: previous, new: &edition }.text();
            write(dir, &format!("CHANGES-from-{}.md", previous.version), &text)?;
        }
        write(dir, Index::FILE, &index(&release, &images).to_text())?;
        write_sums(dir, images.iter().map(digests).collect())
    }

    /// What all documents of a release say.
    fn release_facts(&self, version: &str) -> ReleaseFacts {
        ReleaseFacts {
            project: self.recipe.project.name.to_string(),
            version: version.to_owned(),
            epoch: self.recipe.project.epoch.max(0).cast_unsigned(),
            builder: builder_version(),
        }
    }

    /// The lock; empty for a project without archives.
    fn released_lock(&self) -> Result<Lock> {
        Ok(Lock::read(&self.lock_path())?.unwrap_or_default())
    }

    fn edition(&self, release: &ReleaseFacts, images: &[ImageFacts], lock: &Lock) -> Edition {
        let listed = |image: &ImageFacts| image.packages.iter().map(listed_package).collect();
        let archives = lock.to_text();
        let archives = archives.lines().filter(|line| line.starts_with("release "));
        Edition {
            version: release.version.clone(),
            packages: images.iter().map(|image| (image.file.clone(), listed(image))).collect(),
            files: images.iter().map(|image| (image.file.clone(), image.files.clone())).collect(),
            sizes: images.iter().map(|image| Size { file: image.file.clone(), bytes: image.size }).collect(),
            recipe: self.recipe.show().to_string(),
            archives: archives.map(|line| line.to_owned() + "\n").collect(),
        }
    }
}

fn listed_package(package: &PackageFacts) -> ListedPackage {
    ListedPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        source: package.source.clone(),
        source_version: package.source_version.clone(),
    }
}

/// What was computed of an image already.
fn digests(image: &ImageFacts) -> (String, FileDigests) {
    let (sha256, sha512) = (image.sha256.clone(), image.sha512.clone());
    (image.file.clone(), FileDigests { size: image.size, sha256, sha512 })
}

fn index(release: &ReleaseFacts, images: &[ImageFacts]) -> Index {
    let image = |it: &ImageFacts| IndexedImage {
        file: it.file.clone(),
        size: it.size,
        sha256: it.sha256.clone(),
        blake3: it.blake3.clone(),
    };
    Index {
        v: 1,
        project: release.project.clone(),
        version: release.version.clone(),
        epoch: release.epoch,
        ibuild: release.builder.clone(),
        images: images.iter().map(image).collect(),
    }
}

/// Writes a file of a release, which is nobody's but ours yet.
fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The stages of a target, by which a file of it is looked up.
fn stage_of(project: &Project<'_>, target: &Target) -> ibuild_graph::StageId {
    project.target_stage(target).expect("a requested target has a stage")
}

/// Where an image of a release is.
fn image_path(dir: &Path, target: &Target) -> PathBuf {
    dir.join(target.to_string())
}
