//! The executor: describes stages, finds out whether what they made is still there, and makes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use ibuild_cache::{ActionKey, FileLock, LayerId, LockMode, Store};
use ibuild_graph::{Change, Description, Equal, Executor, LastRun, Made, MadeResult, StageId};

use crate::StageError;
use crate::executor::archives::{ArchiveOptions, Archives};
use crate::executor::resolved::ResolvedStep;
use crate::executor::stage_run::policy;
use crate::image;
use crate::image::BootLoaders;
use crate::inputs::Inputs;
use crate::inspect::logs::Logs;
use crate::inspect::past;
use crate::output::StageOutput;
use crate::packages::{FetchObserver, StageFetch, Verdict};
use crate::packages_used::evidence::Evidence;
use crate::packages_used::unmoved;
use crate::project::{Job, Project};
use crate::publish::finished::Finished;
use crate::recipe::{ArchiveNames, RootfsName, StepKind};
use crate::sandbox::Supervisor;
use crate::snapshot::diff::diff;
use crate::snapshot::{LayerStore, RecentTrees, Snapshot, SnapshotError, TreeStore};
use crate::steps;
use crate::steps::StepMade;

/// How often who waits for another process looks whether it is done, or whether to go on waiting at all.
const LOCK_GLANCE: std::time::Duration = std::time::Duration::from_millis(20);

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

/// How to build. Nothing here is part of a key but for tracing.
#[derive(Debug, Clone, Default)]
pub struct BuilderOptions {
    /// How archives are reached.
    pub archives: ArchiveOptions,
    /// Whether scripts say what they do.
    pub tracing: Tracing,
}

/// Where a boot loader comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOutcome {
    /// It was made by the GRUB of the root file system.
    Made,
    /// That was done before.
    Found,
}

/// Is told what stages do while they run, from several threads.
pub trait StageObserver: Send + Sync {
    /// So many bytes of so many are done.
    fn progress(&self, stage: &str, done: u64, total: u64);
    /// An image has so many compressed grains of disks; so many of them no earlier file had.
    fn packed(&self, stage: &str, grains: u64, compressed: u64);
    /// The disk of an image has its boot loader. Told once for images that share one.
    fn boot_loader(&self, stage: &str, outcome: BootOutcome);
    /// Something that the user should know, but that is no error.
    fn warning(&self, stage: &str, text: &str);
    /// The stage waits for another process that builds the same.
    fn waiting(&self, stage: &str, holder: Option<u32>);
    /// Files of the project that the stage would use are left out. Told once for each stage.
    fn ignored(&self, stage: &str, files: &[String]);
}

/// An observer that does not care.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl StageObserver for Nothing {
    fn progress(&self, _: &str, _: u64, _: u64) {}
    fn packed(&self, _: &str, _: u64, _: u64) {}
    fn boot_loader(&self, _: &str, _: BootOutcome) {}
    fn warning(&self, _: &str, _: &str) {}
    fn waiting(&self, _: &str, _: Option<u32>) {}
    fn ignored(&self, _: &str, _: &[String]) {}
}

/// What a stage made.
type StageMade = Made<StageOutput, StageError>;

/// Makes the stages of a project.
pub struct Builder<'a> {
    project: &'a Project<'a>,
    store: &'a Store,
    supervisor: Supervisor,
    observer: Arc<dyn StageObserver>,
    archives: Archives<'a>,
    inputs: Inputs<'a>,
    logs: Logs,
    tracing: Tracing,
    /// What this build captured and has not kept yet.
    recent_trees: Arc<RecentTrees>,
    /// What stages leave out and was told: they are described several times.
    told: Mutex<BTreeSet<(String, Vec<String>)>>,
    /// Layers that are in the store, because each stage of a chain stands on all layers of those before it. Forgotten as
    /// soon as one turns out to be damaged; nobody else removes any while a build runs.
    layers: Mutex<HashSet<LayerId>>,
    boot_loaders: BootLoaders,
    finished: Finished,
    /// The values of the steps that were described, by their keys: what runs is what was described.
    resolved: Mutex<HashMap<ActionKey, Arc<ResolvedStep>>>,
    said_unlimited: OnceLock<()>,
}

impl<'a> Builder<'a> {
    /// A builder for `project` into `store`.
    pub fn new(
        project: &'a Project<'a>,
        store: &'a Store,
        supervisor: Supervisor,
        options: BuilderOptions,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Self {
        let archives = Archives::new(store, &project.recipe.archives, options.archives, fetches);
        let logs = Logs::new(store.layout(), project.recipe.project.name.as_str());
        let recent_trees = Arc::<RecentTrees>::default();
        let trees = TreeStore::beside(store, recent_trees.clone());
        let inputs = Inputs::new(store, trees, &project.recipe.dir);
        let finished = Finished::until(supervisor.cancel());
        Self {
            project,
            store,
            supervisor,
            observer,
            archives,
            inputs,
            logs,
            tracing: options.tracing,
            recent_trees,
            told: Mutex::default(),
            layers: Mutex::default(),
            boot_loaders: BootLoaders::default(),
            finished,
            resolved: Mutex::default(),
            said_unlimited: OnceLock::new(),
        }
    }

    /// Files that were finished and not put into their places yet.
    pub fn finished(&self) -> &Finished {
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
    pub(crate) fn project(&self) -> &'a Project<'a> {
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
        &*self.observer
    }

    /// The logs of the project.
    pub fn logs(&self) -> &Logs {
        &self.logs
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

    pub(crate) fn project_dir(&self) -> &std::path::Path {
        &self.project.recipe.dir
    }

    pub(crate) fn report_ignored(&self, stage: &str, files: &[String]) {
        let told = (stage.to_owned(), files.to_vec());
        let is_new = || self.told.lock().expect("no panic while held").insert(told);
        if !files.is_empty() && is_new() {
            self.observer.ignored(stage, files);
        }
    }

    /// Why a stage that failed did not get what it asked for: apt keeps that to itself.
    pub(crate) fn report_refused(&self, stage: &str, asked: &[StageFetch]) {
        const SHOWN: usize = 3;
        let refused = asked.iter().filter_map(|fetch| Some((&fetch.address, fetch.problem.as_ref()?)));
        for (address, problem) in refused.take(SHOWN) {
            self.observer.warning(stage, &format!("it asked for {address}: {problem}"));
        }
        let is_foreign =
            |fetch: &StageFetch| matches!(fetch.verdict, Verdict::Refused(status) if status == 403);
        if asked.iter().any(is_foreign) {
            let remedy = "`[archive.NAME]` with `url` and `key` in the recipe declares another archive; other files are \
                          copied out of the project";
            self.observer.warning(stage, remedy);
        }
    }

    pub(crate) fn report_survivors(&self, stage: &str, survivors: &[String]) {
        if !survivors.is_empty() {
            let names = counted(survivors);
            self.observer.warning(stage, &format!("killed what it left running: {names}"));
        }
    }

    /// Says once a build what this machine does not limit: it is the same for all stages.
    pub(crate) fn report_unlimited(&self, stage: &str, unlimited: &[&str]) {
        if !unlimited.is_empty() && self.said_unlimited.set(()).is_ok() {
            let what = unlimited.join(" and ");
            let why = "no control group that this process may write to has the controllers";
            self.observer.warning(stage, &format!("cannot limit {what} of stages here: {why}"));
        }
    }

    /// The archives at the bottom of a step's root file system.
    pub(crate) fn archives_of(&self, name: &crate::recipe::StageName) -> &'a ArchiveNames {
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

    /// Makes what a description is of. A step runs from the value that was described, and from nothing else.
    fn make(
        &self,
        stage: StageId,
        description: &Description,
        inputs: &[&StageOutput],
    ) -> MadeResult<StageOutput, StageError> {
        match self.project.job(stage) {
            Job::Step { step, .. } => {
                self.supervisor.get_ready();
                let key = description.key();
                let resolved = self.resolved.lock().expect("no panic while held").get(&key).cloned();
                let resolved = resolved.expect("a stage is described before it runs");
                let stage = self.project.graph.name(stage).as_str();
                let policy = policy(step.timeout, &step.limits);
                let StepMade { made, evidence } = steps::run(self, stage, &resolved, policy)?;
                Ok(with_evidence(key, made, evidence))
            }
            Job::Image { target, machines, .. } => {
                Ok(Made::whole(image::run(self, target, machines, &snapshots(inputs))?))
            }
        }
    }

    /// Writes down what was learnt on the way. To be called when the files are in their places: that is learnt as well.
    pub fn finish(&self) -> Result<(), StageError> {
        self.inputs.flush()
    }
}

/// Lets what a stage was made of be kept with what it made.
fn with_evidence(
    action: ActionKey,
    made: Made<Snapshot, StageError>,
    evidence: Option<Evidence>,
) -> StageMade {
    let Made { output, keep } = made;
    let keep = Box::new(move || {
        let mut facts = keep()?;
        Evidence::record(evidence, &mut facts, &action);
        Ok(facts)
    });
    Made { output: StageOutput::Snapshot(output), keep }
}

/// Names, each once and with how often it is there, and not too many of them.
fn counted(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let one = |(name, count): (&&str, &usize)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name} ({count} times)"),
    };
    let shown: Vec<_> = counts.iter().take(SHOWN).map(one).collect();
    let more = if counts.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The snapshots that a step's inputs made.
pub(crate) fn snapshots<'o>(inputs: &[&'o StageOutput]) -> Vec<&'o Snapshot> {
    inputs.iter().filter_map(|output| output.snapshot()).collect()
}

impl Executor for Builder<'_> {
    type Output = StageOutput;
    type Error = StageError;

    fn describe(&self, stage: StageId, inputs: &[&StageOutput]) -> Result<Description, StageError> {
        match self.project.job(stage) {
            Job::Step { name, step } => {
                let resolved = steps::resolve(self, name, step, &snapshots(inputs))?;
                let description = resolved.describe();
                let mut known = self.resolved.lock().expect("no panic while held");
                known.insert(description.key(), Arc::new(resolved));
                Ok(description)
            }
            Job::Image { target, machines, .. } => {
                image::describe(self, target, machines, &snapshots(inputs))
            }
        }
    }

    /// Later stages see trees, not layers.
    fn is_same(&self, old: &StageOutput, new: &StageOutput) -> bool {
        match (old.snapshot(), new.snapshot()) {
            (Some(old), Some(new)) => old.tree == new.tree,
            _ => old.artifact() == new.artifact(),
        }
    }

    /// A step's key has the tree that it stands on, not which layers make it. But a disk is laid out by layers, and
    /// what is built step by step has to get those that a build from nothing would have.
    fn upon(&self, stage: StageId, remembered: StageOutput, inputs: &[&StageOutput]) -> StageOutput {
        let parent = inputs.first().and_then(|input| input.snapshot());
        match (self.project.job(stage), remembered, parent) {
            (Job::Step { .. }, StageOutput::Snapshot(made), Some(parent)) => {
                StageOutput::Snapshot(made.moved_to(parent))
            }
            (_, remembered, _) => remembered,
        }
    }

    fn is_available(&self, output: &StageOutput, inputs: &[&StageOutput]) -> Result<bool, StageError> {
        match output {
            StageOutput::Snapshot(snapshot) => {
                let parent = inputs.first().and_then(|input| input.snapshot());
                let mut known = self.layers.lock().expect("no panic while held");
                Ok(LayerStore::new(self.store).has(snapshot, parent, &mut known)?)
            }
            file => Ok(file.has_blobs(self.store)?),
        }
    }

    fn changes(&self, old: &Description, new: &Description) -> Vec<Change> {
        self.inputs.changes(old, new)
    }

    fn is_inherited(&self, change: &Change) -> bool {
        past::is_made_by_inputs(change)
    }

    fn has_failed(&self, stage: StageId) -> bool {
        self.failed_state(self.project.graph.name(stage).as_str()).is_some()
    }

    fn differences(&self, old: &StageOutput, new: &StageOutput) -> Vec<String> {
        let (Some(old), Some(new)) = (old.snapshot(), new.snapshot()) else {
            return if self.is_same(old, new) { Vec::new() } else { vec!["the whole file".to_owned()] };
        };
        match diff(&self.trees(), old.tree, new.tree) {
            Ok(found) => {
                found.iter().map(|(path, _)| format!("/{}", String::from_utf8_lossy(path))).collect()
            }
            // What was made before may be known by its digest only.
            Err(_) => vec!["the tree".to_owned()],
        }
    }

    fn equal(
        &self,
        stage: StageId,
        description: &Description,
        earlier: &[LastRun],
        inputs: &[&StageOutput],
    ) -> Result<Option<Equal>, StageError> {
        unmoved::find(self, stage, description, earlier, inputs)
    }

    fn run(&self, stage: StageId, inputs: &[&StageOutput]) -> MadeResult<StageOutput, StageError> {
        self.run_described(stage, &self.describe(stage, inputs)?, inputs)
    }

    fn run_described(
        &self,
        stage: StageId,
        description: &Description,
        inputs: &[&StageOutput],
    ) -> MadeResult<StageOutput, StageError> {
        let made = self.make(stage, description, inputs).inspect_err(|_| {
            // It may be one of its layers that is to blame.
            self.layers.lock().expect("no panic while held").clear();
        })?;
        self.inputs.flush_listings()?;
        Ok(made)
    }

    fn is_outdated(&self, stage: StageId, error: &StageError) -> bool {
        let StageError::InputsChanged(path) = error else { return false };
        let text = format!("`{path}` changed while it was read: looking at it again");
        self.observer.warning(self.project.graph.name(stage).as_str(), &text);
        true
    }

    /// Who is asked to stop fails in many ways: a program that heard the same signal may have ended first.
    fn is_interrupt(&self, error: &StageError) -> bool {
        error.is_interrupt() || self.supervisor.is_cancelled()
    }

    fn lacks_input(&self, error: &StageError) -> bool {
        matches!(error, StageError::Snapshot(SnapshotError::MissingLayer(_)))
    }

    fn lock(&self, stage: StageId, key: &ActionKey) -> Result<Box<dyn Send>, StageError> {
        let path = self.store.layout().action_lock(key);
        if let Some(lock) = FileLock::take(&path, LockMode::Try)? {
            return Ok(Box::new(lock));
        }
        // Two stages of one build that do the same take turns, too.
        let holder = FileLock::holder(&path);
        if holder != Some(std::process::id()) {
            self.observer.waiting(self.project.graph.name(stage).as_str(), holder);
        }
        loop {
            if self.supervisor.is_cancelled() {
                return Err(StageError::Interrupted);
            }
            std::thread::sleep(LOCK_GLANCE);
            if let Some(lock) = FileLock::take(&path, LockMode::Try)? {
                return Ok(Box::new(lock));
            }
        }
    }
}

#[cfg(test)]
mod tests;
