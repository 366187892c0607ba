//! `ibuild.local.toml`: settings of the machine. None of them is part of a key.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ibuild::stages::recipe::{ByteSize, UnitError};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The file's name, beside the recipe.
pub const LOCAL_FILE: &str = "ibuild.local.toml";

/// Settings of the machine.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where Debian's archive is fetched from.
    pub mirror: Option<String>,
    /// Where Debian's security archive is fetched from.
    pub security_mirror: Option<String>,
    /// Stages at a time.
    pub jobs: Option<NonZeroUsize>,
    /// Where everything is remembered.
    pub cache_dir: Option<PathBuf>,
    /// What `cache gc` leaves the store, unless it is told otherwise.
    #[serde(deserialize_with = "size")]
    pub cache_budget: Option<ByteSize>,
    /// What unpacked layers may take after a build.
    #[serde(deserialize_with = "size")]
    pub unpacked_budget: Option<ByteSize>,
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(from)?;
    let size = text.parse().map_err(|e: UnitError| D::Error::custom(format!("{e}: {}", e.examples())));
    size.map(Some)
}

impl Settings {
    /// The settings beside a recipe; none if there is no file.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCAL_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
        };
        toml::from_str(&text).map_err(|e| {
            let message = e.to_string();
            crate::failure::UsageError::new(format!("`{LOCAL_FILE}`: {}", message.trim_end())).into()
        })
    }
}
