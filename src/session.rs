//! What commands work on: the project's directory, its recipe, and the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ibuild::cache::{FileLock, LockMode, RocksIndex, Store};
use ibuild::graph::{RunMemory, StageId, StageName};
use ibuild::stages::host::userns;
use ibuild::stages::packages::{FetchObserver, Unobserved};
use ibuild::stages::recipe::{Overrides, Recipe, special_files, suggest};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild::stages::snapshot::LayerStore;
use ibuild::stages::{
    Access, ArchiveOptions, ExecutorOptions, Job, NullObserver, Project, StageExecutor, StageObserver,
    Tracing, Unlocked,
};

use crate::STAGE_INIT;
use crate::cli::{BuildArgs, Global};
use crate::failure::UsageError;
use crate::settings::Settings;
use crate::terminal::note;
use crate::ui::{bytes, counted};

/// What unpacked layers may take where the settings say nothing.
const UNPACKED_BUDGET: u64 = 20 << 30;

/// The lock's name, beside the recipe.
pub const LOCK_FILE: &str = "ibuild.lock";

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
        let dir = project_dir()?;
        let recipe = load_recipe(&dir, vars)?;
        let settings = Settings::read(&dir)?;
        let store = open_store(global, &settings)?;
        Ok(Self { recipe, store, settings, dir })
    }

    /// Refuses copies that no stage could make. Whoever walks through all that is copied anyway finds them by that.
    pub fn refuse_special_files(&self) -> Result<()> {
        refuse_special_files(&self.recipe, &self.dir)
    }

    /// Where targets go.
    pub fn output_dir(&self, chosen: Option<&Path>) -> PathBuf {
        output_dir(&self.dir, chosen)
    }

    /// Where the lock is.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK_FILE)
    }

    /// Keeps what is in the store there as long as the value lives. Waits for who removes things, and says so.
    pub fn share_store(&self, global: &Global) -> Result<FileLock> {
        if let Some(lock) = self.store.share(LockMode::Try)? {
            return Ok(lock);
        }
        let holder = FileLock::holder(&self.store.layout().gc_lock());
        let who = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
        note(global, &format!("waits for another ibuild that cleans the store up{who}"));
        Ok(self.store.share(LockMode::Wait)?.expect("waiting ends with the lock"))
    }

    /// Keeps unpacked layers within their budget. Best effort: where another process uses the store, or the disk has its own
    /// troubles, one of the next builds does it.
    pub fn trim_unpacked(&self, global: &Global) {
        let Ok(Some(_alone)) = self.store.take_alone(LockMode::Try) else { return };
        let budget = self.settings.unpacked_budget.map_or(UNPACKED_BUDGET, |size| size.0);
        let trimmed = LayerStore::new(&self.store).trim_unpacked(budget).unwrap_or_default();
        if trimmed.layers > 0 {
            let layers = counted(trimmed.layers, "unpacked layer", "unpacked layers");
            note(global, &format!("removed {layers}: more than {} of them", bytes(budget)));
        }
    }

    /// A executor that only looks: it reports to nobody.
    pub fn quiet_executor<'s>(&'s self, project: &'s Project<'s>) -> Result<StageExecutor<'s>> {
        self.looking_executor(project, Arc::new(NullObserver))
    }

    /// A executor that only looks: what it leaves out, it tells.
    pub fn looking_executor<'s>(
        &'s self,
        project: &'s Project<'s>,
        observer: Arc<dyn StageObserver>,
    ) -> Result<StageExecutor<'s>> {
        self.executor(project, How::default(), Cancel::default(), observer, Arc::new(Unobserved))
    }

    /// What is remembered of this project.
    pub fn memory(&self) -> RunMemory<'_> {
        RunMemory::new(&self.store, self.recipe.project.name.as_str())
    }

    /// What makes the stages.
    pub fn executor<'s>(
        &'s self,
        project: &'s Project<'s>,
        how: How,
        cancel: Cancel,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Result<StageExecutor<'s>> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let init = InitProgram { program, arguments: vec![STAGE_INIT.to_owned()] };
        let options = ExecutorOptions {
            archives: ArchiveOptions {
                lock: self.lock_path(),
                mirrors: self.settings.mirrors(),
                access: how.access,
                unlocked: how.unlocked,
            },
            tracing: how.tracing,
        };
        let supervisor = Supervisor::new(init, cancel);
        Ok(StageExecutor::new(project, &self.store, supervisor, options, observer, fetches))
    }
}

/// Refuses what no copy can hold among what a recipe in `dir` copies.
pub fn refuse_special_files(recipe: &Recipe, dir: &Path) -> Result<()> {
    let found = special_files(recipe, dir).context("cannot look at what is copied")?;
    let Some(first) = found.first() else { return Ok(()) };
    let more = if found.len() > 1 { format!(" (and {} more)", found.len() - 1) } else { String::new() };
    let message = format!("`{}` is neither a file, nor a directory, nor a link{more}", first.display());
    let hint = "only these can be copied: move it away, or name it in an `.ibuildignore`";
    Err(UsageError::new(message).hint(hint).into())
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

/// Makes an ordinary user root of a namespace, before there is a second thread; root stays root. From then on a
/// new file's mode is what whoever makes it says, and its group is root's: neither is a matter of the user's habits.
pub fn become_root() -> Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    if nix::unistd::geteuid().is_root() {
        return nix::unistd::setegid(nix::unistd::Gid::from_raw(0)).context("cannot take root's group");
    }
    userns::enter().context("without root, this works in a user namespace only, and there is none")
}

/// Where the targets of the project in `dir` go.
pub fn output_dir(dir: &Path, chosen: Option<&Path>) -> PathBuf {
    chosen.map_or_else(|| dir.join("out"), Path::to_owned)
}

/// The directory that the command works in, by now this process's own.
pub fn project_dir() -> Result<PathBuf> {
    std::env::current_dir().context("cannot find the directory that this was started in")
}

/// The recipe in the directory that the command works in.
pub fn load_recipe(dir: &Path, vars: &[String]) -> Result<Recipe> {
    Ok(Recipe::load(dir, &overrides(vars)?)?)
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

/// Where the store is, or would be.
pub fn store_dir(global: &Global, settings: &Settings) -> Result<PathBuf> {
    let dir = chosen_store_dir(global, settings)?;
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

fn chosen_store_dir(global: &Global, settings: &Settings) -> Result<PathBuf> {
    if let Some(dir) = global.cache_dir.as_ref().or(settings.cache_dir.as_ref()) {
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

/// The stage that a text on the command line names: a stage, a rootfs, or a target.
pub fn find_stage(project: &Project<'_>, text: &str) -> Result<StageId> {
    if let Some(id) = project.graph.find(&StageName::new(text)) {
        return Ok(id);
    }
    match project.recipe.find_stage(text) {
        Ok(name) => Ok(project.step_stage(&name).expect("every step has a stage")),
        Err(error) if text.contains('/') => Err(error.into()),
        Err(_) => Err(unknown_name(project, text).into()),
    }
}

/// The stages that a text names: as [`find_stage`], and an image means its listed formats.
pub fn find_stages(project: &Project<'_>, text: &str) -> Result<Vec<StageId>> {
    let is_product = project.recipe.products().any(|(name, _)| name.as_str() == text);
    if !is_product || project.recipe.rootfses.contains_key(text) {
        return Ok(vec![find_stage(project, text)?]);
    }
    let targets = project.targets(text)?;
    Ok(targets.iter().filter_map(|target| project.target_stage(target)).collect())
}

fn unknown_name(project: &Project<'_>, text: &str) -> UsageError {
    let rootfses = project.recipe.rootfses.keys().map(|name| name.as_str());
    let images = project.recipe.products().map(|(name, _)| name.as_str());
    let listed = listed_stages(project);
    let stages = listed.iter().map(|stage| project.graph.name(*stage).as_str());
    let error = UsageError::new(format!("there is no stage or target `{text}`"));
    let hint = suggest::hint(text, rootfses.chain(images).chain(stages));
    error.hint(hint.unwrap_or_else(|| "`ibuild graph` draws what there is".to_owned()))
}

/// All stages of a project in build order, images only in the formats that the recipe lists.
pub fn listed_stages(project: &Project<'_>) -> Vec<StageId> {
    let is_listed = |stage: &StageId| match project.job(*stage) {
        Job::Step { .. } => true,
        Job::Image { target, listed, .. } => listed.contains(&target.format),
    };
    project.graph.in_build_order().filter(is_listed).collect()
}
