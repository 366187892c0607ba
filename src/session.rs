//! What commands work on: the project's directory, its recipe, and the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ibuild::cache::{RocksIndex, Store};
use ibuild::graph::{RunMemory, StageId};
use ibuild::stages::build::{
    Access, ArchiveOptions, Builder, BuilderOptions, Project, StageObserver, Tracing, Unlocked,
};
use ibuild::stages::packages::{FetchObserver, MirrorOverride};
use ibuild::stages::recipe::{Overrides, Recipe};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};

use crate::STAGE_INIT;
use crate::cli::{BuildArgs, Global};
use crate::failure::UsageError;
use crate::settings::Settings;

/// The lock's name, beside the recipe.
const LOCK_FILE: &str = "ibuild.lock";

/// A project and the store that its stages go to.
pub struct Session {
    pub recipe: Recipe,
    pub store: Store,
    pub settings: Settings,
    dir: PathBuf,
}

impl Session {
    /// Reads the recipe and opens the store.
    pub fn open(global: &Global, vars: &[String]) -> Result<Self> {
        let dir = project_dir(global)?;
        let recipe = Recipe::load(&dir, &overrides(vars)?)?;
        let settings = Settings::read(&dir)?;
        let store = open_store(global, &settings)?;
        Ok(Self { recipe, store, settings, dir })
    }

    /// Where targets go.
    pub fn output_dir(&self, chosen: Option<&Path>) -> PathBuf {
        chosen.map_or_else(|| self.dir.join("out"), Path::to_owned)
    }

    /// What is remembered of this project.
    pub fn memory(&self) -> RunMemory<'_> {
        RunMemory::new(&self.store, self.recipe.project.name.as_str())
    }

    /// What makes the stages.
    pub fn builder<'s>(
        &'s self,
        project: &'s Project<'s>,
        how: How,
        cancel: Cancel,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Result<Builder<'s>> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let init = InitProgram { program, arguments: vec![STAGE_INIT.to_owned()] };
        let options = BuilderOptions {
            archives: ArchiveOptions {
                lock: self.dir.join(LOCK_FILE),
                mirrors: MirrorOverride {
                    main: self.settings.mirror.clone(),
                    security: self.settings.security_mirror.clone(),
                },
                access: how.access,
                unlocked: how.unlocked,
            },
            tracing: how.tracing,
        };
        let supervisor = Supervisor::new(init, cancel);
        Ok(Builder::new(project, &self.store, supervisor, options, observer, fetches))
    }
}

/// How a command wants to build.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    pub access: Access,
    pub unlocked: Unlocked,
    pub tracing: Tracing,
}

impl How {
    /// As the options of `build` say.
    pub fn of(args: &BuildArgs) -> Self {
        Self {
            access: if args.offline { Access::Offline } else { Access::Online },
            unlocked: if args.locked { Unlocked::Refuse } else { Unlocked::Record },
            tracing: if args.debug { Tracing::On } else { Tracing::Off },
        }
    }
}

/// Refuses what only root can do yet, before any work.
pub fn require_root(what: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    Err(anyhow::Error::from(denied).context(format!("{what} needs root: run it with `sudo`")))
}

/// The directory that the command works in.
pub fn project_dir(global: &Global) -> Result<PathBuf> {
    let dir = global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    std::path::absolute(&dir).with_context(|| format!("cannot find `{}`", dir.display()))
}

fn overrides(vars: &[String]) -> Result<Overrides> {
    let mut overrides = Overrides::default();
    for var in vars {
        let malformed = || UsageError::new(format!("`--var {var}` is not of the form `NAME=VALUE`"));
        let (name, value) = var.split_once('=').ok_or_else(malformed)?;
        let name = name.parse().map_err(|e| UsageError::new(format!("`--var {var}`: {e}")))?;
        overrides.set(name, value);
    }
    Ok(overrides)
}

/// Opens the store, wherever it is to be.
pub fn open_store(global: &Global, settings: &Settings) -> Result<Store> {
    let dir = store_dir(global, settings)?;
    Ok(Store::open(&dir, RocksIndex::new)?)
}

fn store_dir(global: &Global, settings: &Settings) -> Result<PathBuf> {
    if let Some(dir) = global.cache_dir.as_ref().or(settings.cache_dir.as_ref()) {
        return std::path::absolute(dir).with_context(|| format!("cannot find `{}`", dir.display()));
    }
    if nix::unistd::geteuid().is_root() {
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

/// The stages that texts on the command line name: stages or targets.
pub fn find_stage(project: &Project<'_>, text: &str) -> Result<StageId> {
    if let Some(id) = project.graph.find(&ibuild::graph::StageName::new(text)) {
        return Ok(id);
    }
    let name = project.recipe.find_stage(text)?;
    Ok(project.step_stage(&name).expect("every step has a stage"))
}
