//! `release.json`: which images a release folder has.

use std::path::Path;

use ibuild_stages::host::bounded;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result, UsageError};

/// An index is small; a larger file is none.
const LONGEST: u64 = 16 << 20;

/// What a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The version of this form.
    pub v: u32,
    /// The project's name.
    pub project: String,
    /// The release's version.
    pub version: String,
    /// The project's epoch.
    pub epoch: u64,
    /// The version of ibuild that made it.
    pub ibuild: String,
    /// Its images.
    pub images: Vec<IndexedImage>,
}

/// An image of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedImage {
    /// Its file.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its BLAKE3 digest, in hexadecimal.
    pub blake3: String,
}

impl Index {
    /// The file's name.
    pub const FILE: &str = "release.json";

    /// The text of the file.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("an index is plain data") + "\n"
    }

    /// Reads the index of a release folder.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if the folder has none, or one that is malformed.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        let missing = || {
            UsageError::new(format!(
                "`{}` is not a release folder: there is no `{}`",
                dir.display(),
                Self::FILE
            ))
            .hint("`ibuild release` makes one")
        };
        if !path.is_file() {
            return Err(missing().into());
        }
        let bytes =
            bounded::read(&path, LONGEST).with_context(|| format!("cannot read `{}`", path.display()))?;
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| {
            UsageError::new(format!("`{}` is not the index of a release: {error}", path.display()))
        })?;
        let is_name =
            |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        match index.images.iter().find(|image| !is_name(&image.file)) {
            Some(image) => {
                let message =
                    format!("`{}` names a file elsewhere: `{}`", path.display(), image.file.escape_debug());
                Err(UsageError::new(message).into())
            }
            None => Ok(index),
        }
    }
}
