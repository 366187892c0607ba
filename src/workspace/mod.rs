//! A project, its recipe and settings, and the store that its stages go to.

mod against;
mod climb;
mod comparison;
mod exchange;
mod explanation;
mod goal;
mod inspection;
mod lock;
mod names;
mod observer;
mod past;
mod place;
mod publication;
mod release;
mod secrets;
mod since;
mod transaction;
mod verification;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibuild_cache::{FileLock, LockMode, Store};
use ibuild_graph::{Plan, RunMemory, StageId, plan};
use ibuild_stages::packages::FetchObserver;
use ibuild_stages::recipe::{Overrides, Recipe, StepKind, special_files};
use ibuild_stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild_stages::snapshot::LayerStore;
use ibuild_stages::spec::ByteSize;
use ibuild_stages::{
    Access, ArchiveOptions, ExecutorOptions, Job, Project, StageExecutor, StageObserver, Tracing, Unlocked,
};

pub use against::{Action, Compared};
pub use climb::find_project;
pub use comparison::{Comparison, PackageDifference};
pub use exchange::{ExportedPackages, ImportTrust, import_results};
pub use explanation::{Explanation, StageHistory};
pub use goal::BuildRequest;
pub use inspection::{FailedStage, ShellCommand};
pub use lock::note_clocks;
pub use names::{SHORTEST_PREFIX, digits_of_digest, listed_stages};
pub use observer::{BuildObserver, BuiltTarget, NullObserver};
pub use past::builds_back;
pub use place::{open_store, store_dir};
pub use release::{ComparedRecord, RELEASED_RECIPE, RecordedVerdict, ReleaseRequest, SameAction};
pub use since::Since;
pub use transaction::BuildSummary;
pub use verification::{Sample, VerifiedStage, VerifyObserver, VerifyReport, VerifyRequest};

use self::names::requested_targets;
use crate::error::{Context, Result, UsageError};
use crate::process::{STAGE_INIT, check_begun};
use crate::secrets::{GivenSecrets, SecretFile};
use crate::settings::Settings;

/// What unpacked layers may take where the settings say nothing.
const UNPACKED_BUDGET: ByteSize = ByteSize(20 << 30);

/// The lock's name, beside the recipe.
pub const LOCK_FILE: &str = "ibuild.lock";

/// How to open a workspace.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceOptions {
    /// Values of the recipe's variables, as `--var` gives them.
    pub vars: Overrides,
    /// Secrets, as `--secret` gives them; they win over those of the settings.
    pub secrets: Vec<SecretFile>,
    /// Where the store is; if it is not said, where the settings say, or in the user's cache.
    pub cache_dir: Option<PathBuf>,
}

/// How stages are executed.
#[derive(Debug, Clone, Default)]
pub struct ExecutionOptions {
    /// Whether archives may be asked.
    pub access: Access,
    /// What to do about packages that the lock does not have.
    pub unlocked: Unlocked,
    /// Whether scripts say what they do.
    pub tracing: Tracing,
    /// The wish to stop: it ends within a second.
    pub cancel: Cancel,
}

/// A project and the store that its stages go to.
pub struct Workspace {
    /// The recipe.
    pub recipe: Recipe,
    /// The store.
    pub store: Store,
    /// The settings of this machine.
    pub settings: Settings,
    vars: Overrides,
    secrets: GivenSecrets,
    dir: PathBuf,
}

impl Workspace {
    /// Reads the recipe and the settings in a directory, and opens the store.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for a recipe with mistakes, all of which it names, settings with one, or a secret
    /// that no step asks for or that cannot be read; of kind [`Environment`](crate::ErrorKind::Environment) for a store that cannot be opened.
    pub fn open(dir: &Path, options: &WorkspaceOptions) -> Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| format!("cannot find `{}`", dir.display()))?;
        let recipe = load_recipe(&dir, &options.vars)?;
        let settings = Settings::read(&dir)?;
        let secrets = GivenSecrets::of(&recipe, &options.secrets, &settings)?;
        let store = open_store(options.cache_dir.as_deref(), &settings)?;
        Ok(Self { recipe, store, settings, vars: options.vars.clone(), secrets, dir })
    }

    /// The project's stages. Those of one recipe have the same ids each time.
    pub fn project(&self) -> Project<'_> {
        Project::new(&self.recipe)
    }

    /// What a build of these targets would do, and why; without any, of all images. Nothing is changed but what the store remembers of files.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, or if it has no image. If what the
    /// stages copy cannot be read, if the lock is damaged, or if the store refuses.
    pub fn plan(&self, targets: &[String]) -> Result<Plan> {
        let project = self.project();
        let targets = requested_targets(&project, targets)?;
        let stages: Vec<_> = targets.iter().filter_map(|target| project.target_stage(target)).collect();
        self.plan_stages(&stages)
    }

    /// What a build of these stages would do, and why.
    ///
    /// # Errors
    ///
    /// As [`Workspace::plan`].
    pub fn plan_stages(&self, stages: &[StageId]) -> Result<Plan> {
        let project = self.project();
        self.plan_with(&self.quiet_executor(&project)?, stages)
    }

    /// The same with an executor of one's own.
    ///
    /// # Errors
    ///
    /// As [`Workspace::plan`].
    pub fn plan_with(&self, executor: &StageExecutor<'_>, stages: &[StageId]) -> Result<Plan> {
        // A lock that cannot be read is no failure of the stage that wants it first.
        executor.context().archives().lock()?;
        let made = plan(&executor.context().project().graph, &self.memory(), executor, stages)?;
        // Digests that were learnt on the way only save time: a store that cannot be written can still be asked.
        let _ = executor.context().finish();
        Ok(made)
    }

    /// The archives that stages need and that the lock does not cover: a build records their state first.
    ///
    /// # Errors
    ///
    /// If the lock is damaged.
    pub fn unlocked_archives(&self, stages: &[StageId]) -> Result<Vec<String>> {
        let project = self.project();
        let lock = self.quiet_executor(&project)?.context().archives().lock()?;
        let mut found = BTreeSet::new();
        for stage in project.graph.needed_for(stages) {
            if let Job::Step { step, .. } = project.job(stage)
                && let StepKind::Bootstrap { archive, .. } = &step.kind
            {
                let is_locked = |name: &str| lock.releases().iter().any(|it| it.archive.as_str() == name);
                let names = archive.all().iter().map(|name| name.as_str());
                found.extend(names.filter(|name| !is_locked(name)).map(str::to_owned));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Refuses copies that no stage could make. A caller that walks all copied files finds them without this check.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage), with the first of them.
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

    /// Keeps what is in the store there as long as the value lives. Blocks while a garbage collection runs, after it has called `note`.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn share_store(&self, note: impl FnOnce(&str)) -> Result<FileLock> {
        if let Some(lock) = self.store.share(LockMode::Try)? {
            return Ok(lock);
        }
        let holder = FileLock::holder(&self.store.layout().gc_lock());
        let who = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
        note(&format!("waits for another ibuild that cleans the store up{who}"));
        Ok(self.store.share(LockMode::Wait)?.expect("waiting ends with the lock"))
    }

    /// Keeps unpacked layers within their budget. Best effort: where another process uses the store, or the disk has its own
    /// troubles, one of the next builds does it.
    fn trim(&self, observer: &dyn BuildObserver) {
        let Ok(Some(_alone)) = self.store.take_alone(LockMode::Try) else { return };
        let budget = self.settings.unpacked_budget.unwrap_or(UNPACKED_BUDGET);
        let trimmed = LayerStore::new(&self.store).trim_unpacked(budget.0).unwrap_or_default();
        if trimmed.layers > 0 {
            let layers = if trimmed.layers == 1 { "unpacked layer" } else { "unpacked layers" };
            observer
                .note("store", &format!("removed {} {layers}: more than {budget} of them", trimmed.layers));
        }
    }

    /// An executor for plans; it reports nothing.
    ///
    /// # Errors
    ///
    /// As [`Workspace::executor`].
    pub fn quiet_executor<'s>(&'s self, project: &'s Project<'s>) -> Result<StageExecutor<'s>> {
        self.planning_executor(project, Arc::new(ibuild_stages::NullObserver))
    }

    /// An executor for plans; it reports ignored files.
    ///
    /// # Errors
    ///
    /// As [`Workspace::executor`].
    pub fn planning_executor<'s>(
        &'s self,
        project: &'s Project<'s>,
        observer: Arc<dyn StageObserver>,
    ) -> Result<StageExecutor<'s>> {
        self.executor(project, &ExecutionOptions::default(), observer, Arc::new(NullObserver))
    }

    /// What is remembered of this project.
    pub fn memory(&self) -> RunMemory<'_> {
        RunMemory::new(&self.store, self.recipe.project.name.as_str())
    }

    /// What makes the stages.
    ///
    /// # Errors
    ///
    /// If the program has not called [`begin`](crate::begin) first of all, or does not find its own file, which is the init of its
    /// sandboxes.
    pub fn executor<'s>(
        &'s self,
        project: &'s Project<'s>,
        execution: &ExecutionOptions,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Result<StageExecutor<'s>> {
        check_begun()?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let init = InitProgram { program, arguments: vec![STAGE_INIT.to_owned()] };
        let options = ExecutorOptions {
            archives: ArchiveOptions {
                lock: self.lock_path(),
                mirrors: self.settings.mirrors(),
                access: execution.access,
                unlocked: execution.unlocked,
            },
            tracing: execution.tracing,
            secrets: self.secrets.values.clone(),
        };
        let supervisor = Supervisor::new(init, execution.cancel.clone());
        Ok(StageExecutor::new(project, &self.store, supervisor, options, observer, fetches))
    }
}

/// The recipe in a directory.
///
/// # Errors
///
/// All its mistakes.
pub fn load_recipe(dir: &Path, vars: &Overrides) -> Result<Recipe> {
    Ok(Recipe::load(dir, vars)?)
}

/// Where the targets of the project in `dir` go.
pub fn output_dir(dir: &Path, chosen: Option<&Path>) -> PathBuf {
    chosen.map_or_else(|| dir.join("out"), Path::to_owned)
}

/// Refuses what no copy can hold among what a recipe in `dir` copies.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage), with the first of them.
pub fn refuse_special_files(recipe: &Recipe, dir: &Path) -> Result<()> {
    let found = special_files(recipe, dir).context("cannot look at what is copied")?;
    let Some(first) = found.first() else { return Ok(()) };
    let more = if found.len() > 1 { format!(" (and {} more)", found.len() - 1) } else { String::new() };
    let message = format!("`{}` is neither a file, nor a directory, nor a link{more}", first.display());
    let hint = "only these can be copied: move it away, or name it in an `.ibuildignore`";
    Err(UsageError::new(message).hint(hint).into())
}
