//! `ibuild.local.toml`: settings of the machine. None of them is part of a key.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ibuild::stages::packages::MirrorOverride;
use ibuild::stages::recipe::{ByteSize, UnitError};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The file's name, beside the recipe.
pub const LOCAL_FILE: &str = "ibuild.local.toml";

/// Settings of the machine.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where Debian's archive is fetched from: an address, or several in the order in which they are asked.
    #[serde(deserialize_with = "addresses")]
    pub mirror: Vec<String>,
    /// Where Debian's security archive is fetched from.
    #[serde(deserialize_with = "addresses")]
    pub security_mirror: Vec<String>,
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

/// One address need not be written as a list.
fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an address, or a list of addresses")]
    enum Addresses {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Addresses::deserialize(from)? {
        Addresses::One(address) => vec![address],
        Addresses::Several(addresses) => addresses,
    })
}

impl Settings {
    /// The mirrors that are set.
    pub fn mirrors(&self) -> MirrorOverride {
        MirrorOverride { main: self.mirror.clone(), security: self.security_mirror.clone() }
    }

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
