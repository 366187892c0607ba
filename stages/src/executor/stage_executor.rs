//! The executor: describes stages, finds out whether what they made is still there, and makes them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use ibuild_cache::{ActionKey, FileLock, LayerId, LockMode, Store};
use ibuild_graph::{
    Change, Description, EquivalentAction, Executor, LastRun, Made, MadeResult, RecordedStage, StageId,
};

use crate::StageError;
use crate::executor::context::{ExecutorOptions, StageContext, snapshots};
use crate::executor::observer::StageObserver;
use crate::executor::resolved::ResolvedStep;
use crate::executor::second_run::SecondRun;
use crate::executor::stage_run::policy;
use crate::image;
use crate::inspect::build_history;
use crate::output::StageOutput;
use crate::packages::FetchObserver;
use crate::packages_used::archive_equivalence;
use crate::packages_used::package_usage::PackageUsage;
use crate::project::{Job, Project};
use crate::sandbox::Supervisor;
use crate::snapshot::diff::diff;
use crate::snapshot::{LayerStore, Snapshot, SnapshotError};
use crate::steps;
use crate::steps::StepMade;
use crate::verify::variation::Variation;
use ibuild_spec::Format;

/// How often a waiting process polls the lock and checks for cancellation.
const LOCK_POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// What a stage made.
type StageMade = Made<StageOutput, StageError>;

/// Makes the stages of a project.
pub struct StageExecutor<'a> {
    context: StageContext<'a>,
    /// Layers that are in the store, because each stage of a chain stands on all layers of those before it. Forgotten as
    /// soon as one turns out to be damaged; nobody else removes any while a build runs.
    layers: Mutex<HashSet<LayerId>>,
    /// The values of the steps that were described, by their keys: what runs is what was described.
    resolved: Mutex<HashMap<ActionKey, Arc<ResolvedStep>>>,
}

impl<'a> StageExecutor<'a> {
    /// An executor of `project` into `store`.
    pub fn new(
        project: &'a Project<'a>,
        store: &'a Store,
        supervisor: Supervisor,
        options: ExecutorOptions,
        observer: Arc<dyn StageObserver>,
        fetches: Arc<dyn FetchObserver>,
    ) -> Self {
        let context = StageContext::new(project, store, supervisor, options, observer, fetches);
        Self { context, layers: Mutex::default(), resolved: Mutex::default() }
    }

    /// What it makes stages with.
    pub fn context(&self) -> &StageContext<'a> {
        &self.context
    }

    /// Makes what a description is of. A step runs from the value that was described, and from nothing else.
    fn make(
        &self,
        stage: StageId,
        description: &Description,
        inputs: &[&StageOutput],
    ) -> MadeResult<StageOutput, StageError> {
        match self.context.project().job(stage) {
            Job::Step { step, .. } => {
                self.context.supervisor().get_ready();
                let (key, resolved) = (description.key(), self.resolved_as(description));
                let stage = self.context.project().graph.name(stage).as_str();
                let policy = policy(step.timeout, &step.limits);
                let StepMade { made, evidence } = steps::run(&self.context, stage, &resolved, policy)?;
                Ok(with_evidence(key, made, evidence))
            }
            Job::Image { target, machines, .. } => {
                Ok(Made::whole(image::run(&self.context, target, machines, &snapshots(inputs))?))
            }
        }
    }
}

/// What running a stage once more gave.
pub(crate) enum Again<'s> {
    /// A step made a root file system.
    Step {
        /// What it made.
        run: Box<SecondRun<'s>>,
        /// The text of what ran, if it is one, with how messages call it in front.
        program: Option<(String, String)>,
    },
    /// An image was packed; unless its bytes are the same, an account of the difference.
    Image(Option<String>),
}

impl<'a> StageExecutor<'a> {
    /// Runs a stage once more upon what its inputs made, from the value that was described, on a machine that `varied` makes
    /// another one. Nothing of it is remembered.
    pub(crate) fn run_again(
        &self,
        recorded: &RecordedStage<StageOutput>,
        varied: &[Variation],
    ) -> Result<Again<'a>, StageError> {
        let inputs = recorded.inputs();
        match self.context.project().job(recorded.stage) {
            Job::Step { step, .. } => {
                let mut resolved = ResolvedStep::clone(&*self.resolved_as(&recorded.description));
                varied.iter().for_each(|variation| variation.apply(&mut resolved.view.machine));
                let name = self.context.project().graph.name(recorded.stage).as_str();
                let policy = policy(step.timeout, &step.limits);
                let run = steps::run_again(&self.context, name, &resolved, policy)?;
                Ok(Again::Step { run: Box::new(run), program: resolved.program_text() })
            }
            Job::Image { target, machines, .. } => {
                let before = recorded.output.artifact().expect("an image is a file");
                image::run_again(&self.context, target, machines, &snapshots(&inputs), before)
                    .map(Again::Image)
            }
        }
    }

    /// The value that has this description.
    fn resolved_as(&self, description: &Description) -> Arc<ResolvedStep> {
        let resolved = self.resolved.lock().expect("no panic while held").get(&description.key()).cloned();
        resolved.expect("a stage is described before it runs")
    }
}

/// Lets what a stage was made of be kept with what it made.
fn with_evidence(
    action: ActionKey,
    made: Made<Snapshot, StageError>,
    evidence: Option<PackageUsage>,
) -> StageMade {
    let Made { output, commit } = made;
    let commit = Box::new(move || {
        let mut facts = commit()?;
        PackageUsage::record(evidence, &mut facts, &action);
        Ok(facts)
    });
    Made { output: StageOutput::Snapshot(output), commit }
}

impl Executor for StageExecutor<'_> {
    type Output = StageOutput;
    type Error = StageError;

    fn describe(&self, stage: StageId, inputs: &[&StageOutput]) -> Result<Description, StageError> {
        match self.context.project().job(stage) {
            Job::Step { name, step } => {
                let resolved = steps::resolve(&self.context, name, step, &snapshots(inputs))?;
                let description = resolved.describe();
                let mut known = self.resolved.lock().expect("no panic while held");
                known.insert(description.key(), Arc::new(resolved));
                Ok(description)
            }
            Job::Image { target, machines, .. } => {
                image::describe(&self.context, target, machines, &snapshots(inputs))
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
    fn rebase(&self, stage: StageId, remembered: StageOutput, inputs: &[&StageOutput]) -> StageOutput {
        let parent = inputs.first().and_then(|input| input.snapshot());
        match (self.context.project().job(stage), remembered, parent) {
            (Job::Step { .. }, StageOutput::Snapshot(made), Some(parent)) => {
                StageOutput::Snapshot(made.moved_to(parent))
            }
            (_, remembered, _) => remembered,
        }
    }

    /// A result that is of another kind than what the stage makes was not made by it, whoever says so.
    fn is_available(
        &self,
        stage: StageId,
        output: &StageOutput,
        inputs: &[&StageOutput],
    ) -> Result<bool, StageError> {
        let is_step = matches!(self.context.project().job(stage), Job::Step { .. });
        match output {
            output if output.snapshot().is_some() != is_step => Ok(false),
            StageOutput::Snapshot(snapshot) => {
                let parent = inputs.first().and_then(|input| input.snapshot());
                let mut known = self.layers.lock().expect("no panic while held");
                Ok(LayerStore::new(self.context.store()).has(snapshot, parent, &mut known)?)
            }
            file => Ok(file.has_blobs(self.context.store())?),
        }
    }

    fn changes(&self, old: &Description, new: &Description) -> Vec<Change> {
        self.context.inputs().changes(old, new)
    }

    fn is_inherited(&self, change: &Change) -> bool {
        build_history::is_made_by_inputs(change)
    }

    fn has_failed(&self, stage: StageId) -> bool {
        self.context.failed_state(self.context.project().graph.name(stage).as_str()).is_some()
    }

    fn differences(&self, old: &StageOutput, new: &StageOutput) -> Vec<String> {
        let (Some(old), Some(new)) = (old.snapshot(), new.snapshot()) else {
            return if self.is_same(old, new) { Vec::new() } else { vec!["the whole file".to_owned()] };
        };
        match diff(&self.context.trees(), old.tree, new.tree) {
            Ok(found) => {
                found.iter().map(|(path, _)| format!("/{}", String::from_utf8_lossy(path))).collect()
            }
            // What was made before may be known by its digest only.
            Err(_) => vec!["the tree".to_owned()],
        }
    }

    fn find_equivalent(
        &self,
        stage: StageId,
        description: &Description,
        earlier: &[LastRun],
        inputs: &[&StageOutput],
    ) -> Result<Option<EquivalentAction>, StageError> {
        archive_equivalence::find(&self.context, stage, description, earlier, inputs)
    }

    /// An OCI image is made of the tarballs of layers, and a commit writes such a tarball.
    fn needs_commits(&self, stage: StageId) -> bool {
        match self.context.project().job(stage) {
            Job::Step { .. } => false,
            Job::Image { target, .. } => target.format == Format::Oci,
        }
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
        self.context.inputs().flush_listings()?;
        Ok(made)
    }

    fn is_outdated(&self, stage: StageId, error: &StageError) -> bool {
        let StageError::InputsChanged(path) = error else { return false };
        let text = format!("`{path}` changed while it was read: looking at it again");
        self.context.observer().warning(self.context.project().graph.name(stage).as_str(), &text);
        true
    }

    /// Who is asked to stop fails in many ways: a program that heard the same signal may have ended first.
    fn is_interrupt(&self, error: &StageError) -> bool {
        error.is_interrupt() || self.context.supervisor().is_cancelled()
    }

    fn lacks_input(&self, error: &StageError) -> bool {
        matches!(error, StageError::Snapshot(SnapshotError::MissingLayer(_)))
    }

    fn lock(&self, stage: StageId, key: &ActionKey) -> Result<Box<dyn Send>, StageError> {
        let path = self.context.store().layout().action_lock(key);
        if let Some(lock) = FileLock::take(&path, LockMode::Try)? {
            return Ok(Box::new(lock));
        }
        // Two stages of one build that do the same take turns, too.
        let holder = FileLock::holder(&path);
        if holder != Some(std::process::id()) {
            self.context.observer().waiting(self.context.project().graph.name(stage).as_str(), holder);
        }
        loop {
            if self.context.supervisor().is_cancelled() {
                return Err(StageError::Interrupted);
            }
            std::thread::sleep(LOCK_POLL_INTERVAL);
            if let Some(lock) = FileLock::take(&path, LockMode::Try)? {
                return Ok(Box::new(lock));
            }
        }
    }
}
