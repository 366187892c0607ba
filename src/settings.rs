//! `ibuild.local.toml`: settings of the machine. None of them is part of a key.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ibuild::stages::host::bounded;
use ibuild::stages::packages::MirrorOverride;
use ibuild::stages::spec::{ByteSize, UnitError};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The file's name, beside the recipe.
pub const LOCAL_FILE: &str = "ibuild.local.toml";

/// Settings of the machine.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where Debian's archive is fetched from: an address, or several in the order in which they are asked.
    #[serde(deserialize_with = "texts")]
    pub mirror: Vec<String>,
    /// Where Debian's security archive is fetched from.
    #[serde(deserialize_with = "texts")]
    pub security_mirror: Vec<String>,
    /// Where packages are taken from that are not in the store: other stores, by their directories, beside the recipe if
    /// relative, or by addresses of their `packages` directories.
    #[serde(deserialize_with = "texts")]
    pub stores: Vec<String>,
    /// Snapshot services, which have files that no mirror has any more: addresses without a moment.
    #[serde(deserialize_with = "texts")]
    pub snapshots: Vec<String>,
    /// Files with certificates of authorities that are believed besides those of the machine, for mirrors that speak
    /// https. Relative ones are beside the recipe.
    #[serde(deserialize_with = "paths")]
    pub ca: Vec<PathBuf>,
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
    let size = text.parse().map_err(|e: UnitError| D::Error::custom(format!("{e}: {}", e.hint())));
    size.map(Some)
}

/// One text need not be written as a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Texts::deserialize(from)? {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    })
}

fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(texts(from)?.into_iter().map(PathBuf::from).collect())
}

impl Settings {
    /// The mirrors that are set.
    pub fn mirrors(&self) -> MirrorOverride {
        MirrorOverride {
            main: self.mirror.clone(),
            security: self.security_mirror.clone(),
            ca: self.ca.clone(),
            stores: self.stores.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    /// The settings beside a recipe; none if there is no file.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCAL_FILE);
        const LARGEST: u64 = 1 << 20;
        let bytes = match bounded::read(&path, LARGEST) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| crate::failure::UsageError::new(format!("`{LOCAL_FILE}` is not UTF-8 text")))?;
        let mut settings: Self = toml::from_str(&text).map_err(|e| {
            let message = e.to_string();
            crate::failure::UsageError::new(format!("`{LOCAL_FILE}`: {}", message.trim_end()))
        })?;
        settings.ca.iter_mut().for_each(|path| *path = dir.join(&*path));
        for store in settings.stores.iter_mut().filter(|store| !store.contains("://")) {
            *store = dir.join(&*store).to_string_lossy().into_owned();
        }
        Ok(settings)
    }
}
