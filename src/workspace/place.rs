//! Where the store is.

#![allow(clippy::disallowed_methods, reason = "the user's cache is where the environment says")]

use std::path::{Path, PathBuf};

use ibuild_cache::{RocksIndex, Store};
use ibuild_stages::host::userns;

use crate::error::{Context, Result, UsageError};
use crate::settings::Settings;

/// Opens the store, wherever it is to be.
///
/// # Errors
///
/// As [`store_dir`], or if it cannot be opened or made.
pub fn open_store(chosen: Option<&Path>, settings: &Settings) -> Result<Store> {
    Ok(Store::open(&store_dir(chosen, settings)?, RocksIndex::new)?)
}

/// Where the store is, or would be: where somebody chose, where the settings say, `/var/cache/ibuild` for root, or in the cache
/// of the user.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage), if there is no such place or its name is not text.
pub fn store_dir(chosen: Option<&Path>, settings: &Settings) -> Result<PathBuf> {
    let dir = chosen_store_dir(chosen, settings)?;
    // The index is opened by a library that knows names as text only.
    match dir.to_str() {
        Some(_) => Ok(dir),
        None => {
            Err(UsageError::new(format!("the name of the store's directory `{}` is not text", dir.display()))
                .hint("choose one of which the whole path is UTF-8: `--cache-dir DIR`")
                .into())
        }
    }
}

fn chosen_store_dir(chosen: Option<&Path>, settings: &Settings) -> Result<PathBuf> {
    if let Some(dir) = chosen.or(settings.cache_dir.as_deref()) {
        return std::path::absolute(dir).with_context(|| format!("cannot find `{}`", dir.display()));
    }
    // Root of a user namespace is somebody else outside.
    if nix::unistd::geteuid().is_root() && userns::is_initial() {
        return Ok(PathBuf::from("/var/cache/ibuild"));
    }
    let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("XDG_CACHE_HOME")
        .or_else(|| home("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("ibuild"))
        .ok_or_else(|| {
            UsageError::new("there is no place for the cache")
                .hint("set `HOME`, or pass `--cache-dir DIR`")
                .into()
        })
}
