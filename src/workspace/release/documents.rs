//! The documents beside the images of a release.

use std::path::Path;

use ibuild_stages::packages::Lock;
use ibuild_stages::release::{
    ImageFacts, RecordedImage, ReleaseFacts, cyclonedx, file_list, package_list, source_list, spdx,
};
use ibuild_stages::{Project, Target};
use serde_json::Value;

use super::super::Workspace;
use super::facts::image_facts;
use super::record::BuiltTarget;
use super::{image_path, write};
use crate::error::Result;

/// What the documents of a release are written from.
pub(super) struct Documents<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) project: &'a Project<'a>,
    pub(super) release: &'a ReleaseFacts,
    pub(super) lock: &'a Lock,
    pub(super) dir: &'a Path,
}

impl Documents<'_> {
    /// Writes those of each image.
    pub(super) fn write_images(&self, targets: &[Target]) -> Result<Vec<ImageFacts>> {
        targets.iter().map(|target| self.write_image(target)).collect()
    }

    fn write_image(&self, target: &Target) -> Result<ImageFacts> {
        let built = BuiltTarget::of(self.workspace, self.project, target)?;
        let path = image_path(self.dir, target);
        let image = image_facts(self.workspace, &path, built.blake3(), &built.machines(), self.lock)?;
        let recorded = RecordedImage {
            file: image.file.clone(),
            sha256: image.sha256.clone(),
            blake3: image.blake3.clone(),
        };
        let record = built.record(self.release, self.lock, &recorded);
        let texts = [
            ("packages", package_list(&image.packages)),
            ("sources", source_list(&image.sources)),
            ("files", file_list(&image.files)),
            ("spdx.json", pretty(&spdx(self.release, &image))),
            ("cdx.json", pretty(&cyclonedx(self.release, &image))),
            ("intoto.json", record),
        ];
        for (ending, text) in texts {
            write(self.dir, &format!("{}.{ending}", image.file), &text)?;
        }
        Ok(image)
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a document is plain data") + "\n"
}
