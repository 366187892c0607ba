//! What steps and images are described and made with: the project, the store, the archives, the sandbox. It knows no kind of
//! step or image.

use std::path::Path;
use std::sync::Arc;

use ibuild_cache::Store;
use ibuild_graph::StageId;

use crate::StageError;
use crate::executor::archives::{ArchiveOptions, Archives};
use crate::executor::observer::StageObserver;
use crate::executor::reports::Reports;
use crate::executor::secrets::Secrets;
use crate::image::boot_loaders::BootLoaders;
use crate::inputs::Inputs;
use crate::inspect::logs::Logs;
use crate::output::StageOutput;
use crate::packages::FetchObserver;
use crate::project::{Job, Project};
use crate::publish::pending_artifacts::PendingArtifacts;
use crate::recipe::{ArchiveNames, RootfsName, Step, StepKind, StepPath};
use crate::sandbox::{ShownSecret, Supervisor};
use crate::snapshot::{LayerStore, RecentTrees, Snapshot, TreeStore};

/// Whether shells print each command. A script can see that it is so, in `$-` and where its errors go, so it is in the key of
/// what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracing {
    /// As they are written.
    #[default]
    Off,
    /// Shells are started with `-x`.
    On,
}

/// How to build. Nothing here is part of a key but for tracing, and secrets of which a recipe says so.
#[derive(Debug, Clone, Default)]
pub struct ExecutorOptions {
    /// How archives are reached.
    pub archives: ArchiveOptions,
    /// Whether scripts say what they do.
    pub tracing: Tracing,
    /// The secrets that steps may ask for.
    pub secrets: Secrets,
}

/// What one build makes its stages with.
pub struct StageContext<'a> {
    project: &'a Project<'a>,
    store: &'a Store,
    supervisor: Supervisor,
    reports: Reports,
    archives: Archives<'a>,
    inputs: Inputs<'a>,
    logs: Logs,
    tracing: Tracing,
    secrets: Secrets,
    /// What this build captured and has not committed yet.
    recent_trees: Arc<RecentTrees>,
    boot_loaders: BootLoaders,
    finished: PendingArtifacts,
}

impl<'a> StageContext<'a> {
    pub(super) fn new(
        project: &'a Project<'a>,
        store: &'a Store,
        supervisor: Supervisor,
        options: ExecutorOptions,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Self {
        let recent_trees = Arc::<RecentTrees>::default();
        let trees = TreeStore::beside(store, recent_trees.clone());
        Self {
            project,
            store,
            reports: Reports::to(observer),
            archives: Archives::new(store, &project.recipe.archives, options.archives, fetches),
            inputs: Inputs::new(store, trees, &project.recipe.dir),
            logs: Logs::new(store.layout(), project.recipe.project.name.as_str()),
            tracing: options.tracing,
            secrets: options.secrets,
            recent_trees,
            boot_loaders: BootLoaders::default(),
            finished: PendingArtifacts::until(supervisor.cancel()),
            supervisor,
        }
    }

    /// Files that were finished and not put into their places yet.
    pub fn finished(&self) -> &PendingArtifacts {
        &self.finished
    }

    /// The content store and index.
    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    /// The trees of the store, and of this build.
    pub(crate) fn trees(&self) -> TreeStore<'_> {
        TreeStore::beside(self.store, self.recent_trees.clone())
    }

    /// What is built.
    pub fn project(&self) -> &'a Project<'a> {
        self.project
    }

    pub(crate) fn boot_loaders(&self) -> &BootLoaders {
        &self.boot_loaders
    }

    /// The archives of the project.
    pub fn archives(&self) -> &Archives<'a> {
        &self.archives
    }

    pub(crate) fn inputs(&self) -> &Inputs<'a> {
        &self.inputs
    }

    /// The layers of the store, until the user gives up.
    pub(crate) fn layers(&self) -> LayerStore<'a> {
        LayerStore::new(self.store).until(self.supervisor.cancel())
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub(crate) fn observer(&self) -> &dyn StageObserver {
        self.reports.observer()
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// The logs of the project.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The secrets of a step, as far as they are given.
    pub(crate) fn secrets_of(&self, step: &Step) -> Result<Vec<ShownSecret>, StageError> {
        self.secrets.shown_to(step, self.store)
    }

    pub(crate) fn tracing(&self) -> Tracing {
        self.tracing
    }

    pub(crate) fn project_name(&self) -> &str {
        self.project.recipe.project.name.as_str()
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.project.recipe.project.epoch
    }

    pub(crate) fn project_dir(&self) -> &Path {
        &self.project.recipe.dir
    }

    /// The archives at the bottom of a step's root file system.
    pub(crate) fn archives_of(&self, name: &StepPath) -> &'a ArchiveNames {
        let chain = self.project.recipe.chain(&name.rootfs);
        match chain.first().map(|first| &first.step.kind) {
            Some(StepKind::Bootstrap { archive, .. }) => archive,
            _ => unreachable!("a checked recipe's chains start with a bootstrap"),
        }
    }

    /// What a root file system runs on, as Debian calls it.
    pub(crate) fn architecture_of(&self, rootfs: &RootfsName) -> &'a str {
        let first = self.project.recipe.chain(rootfs).first().map(|first| first.name.clone());
        let first = first.expect("a checked recipe's chains have steps");
        self.project.recipe.archives[self.archives_of(&first).first()].architecture.as_str()
    }

    /// Makes sure that the lock knows the archives that these stages need. Comes before a build, because the state of
    /// an archive is part of the keys.
    pub fn prepare(&self, stages: &[StageId]) -> Result<(), StageError> {
        for stage in stages {
            if let Job::Step { step, .. } = self.project.job(*stage)
                && let StepKind::Bootstrap { archive, .. } = &step.kind
            {
                archive.all().iter().try_for_each(|name| self.archives.ensure_locked(name))?;
            }
        }
        Ok(())
    }

    /// Stores the digests that were computed during the build. Called after publication, which computes some, too.
    pub fn finish(&self) -> Result<(), StageError> {
        self.inputs.flush()
    }
}

/// The snapshots that a step's inputs made.
pub(crate) fn snapshots<'o>(inputs: &[&'o StageOutput]) -> Vec<&'o Snapshot> {
    inputs.iter().filter_map(|output| output.snapshot()).collect()
}
