//! Reproducibility: stages run once more and are compared with what is in the store.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ibuild_cache::ActionKey;
use ibuild_graph::{Recorded, RecordedStage, RunMemory, StageId, recorded};
use ibuild_stages::recipe::Reproducible;
use ibuild_stages::{
    Project, StageError, StageExecutor, StageOutput, StageVerdict, Variation, Verified, VerifyOptions,
    verify_stage,
};

use super::names::listed_stages;
use super::since::{Since, keys_since};
use super::{ExecutionOptions, NullObserver, Workspace};
use crate::error::Result;
use crate::secrets::Runs;

/// The time between the end of a run and the one that it is compared with, at least.
const APART: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(50);

/// What is to be verified, and how.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// Targets, which mean all stages that they need, and stages, which mean themselves. None: everything that the recipe lists.
    pub names: Vec<String>,
    /// How often each stage runs; it stops at the first run that differs.
    pub times: NonZeroUsize,
    /// A part of the stages, drawn at random.
    pub sample: Option<Sample>,
    /// What of the machine is varied after the plain second run.
    pub vary: Vec<Variation>,
    /// Only stages whose actions are none of these: see [`Workspace::actions_since`].
    pub since: Option<BTreeSet<ActionKey>>,
    /// How many stages run at a time; the default is the setting `jobs`, else the number of cores.
    pub jobs: Option<NonZeroUsize>,
    /// Where both versions of each file that differs are written: `DIR/STAGE/1` and `DIR/STAGE/2`.
    pub keep: Option<PathBuf>,
    /// How stages are executed.
    pub execution: ExecutionOptions,
}

/// A part of some stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How large it is to be, above 0 and at most 1.
    pub share: f64,
    /// The same seed draws the same stages, as long as their keys are the same.
    pub seed: u64,
}

impl Sample {
    /// Whether an action is drawn.
    fn has(&self, key: &ActionKey) -> bool {
        // Keys are digests: any part of one is as good as random.
        let (first, _) = key.as_bytes().split_first_chunk::<8>().expect("a key has 32 bytes");
        fastrand::Rng::with_seed(self.seed.wrapping_add(u64::from_le_bytes(*first))).f64() < self.share
    }
}

/// A stage that ran once more.
#[derive(Debug)]
pub struct VerifiedStage {
    /// The stage.
    pub stage: StageId,
    /// What came of it.
    pub verified: Verified,
    /// Whether the recipe expects it to make the same.
    pub expected: Reproducible,
}

impl VerifiedStage {
    /// Whether it made the same.
    pub fn is_equal(&self) -> bool {
        matches!(self.verified.verdict, StageVerdict::Equal)
    }

    /// Whether it made the same, or something else as the recipe accepts. That it failed nobody accepts.
    pub fn is_accepted(&self) -> bool {
        match self.verified.verdict {
            StageVerdict::Equal => true,
            StageVerdict::Differs(_) => !self.expected.is_expected(),
            StageVerdict::ImageDiffers { .. } | StageVerdict::Failed { .. } => false,
        }
    }
}

/// What came of a verification.
#[derive(Debug)]
pub struct VerifyReport {
    /// The stages that ran, in build order.
    pub stages: Vec<VerifiedStage>,
    /// How many others were asked for, and are left out because of the sample or because they are not new.
    pub left_out: usize,
}

impl VerifyReport {
    /// Whether all stages made the same, but for those of which the recipe does not expect it.
    pub fn is_reproducible(&self) -> bool {
        self.stages.iter().all(VerifiedStage::is_accepted)
    }

    /// The stages that did not, in build order.
    pub fn failures(&self) -> impl Iterator<Item = &VerifiedStage> {
        self.stages.iter().filter(|stage| !stage.is_accepted())
    }
}

/// Watches a verification. Told from several threads.
pub trait VerifyObserver: Sync {
    /// So many stages are going to run.
    fn begin(&self, _stages: usize) {}
    /// A stage runs.
    fn started(&self, _stage: StageId) {}
    /// A stage was compared.
    fn finished(&self, _stage: &VerifiedStage) {}
}

impl VerifyObserver for NullObserver {}

impl Workspace {
    /// The stages of a request that a build would have to run first, because their results are not in the store.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have.
    pub fn unbuilt(&self, names: &[String]) -> Result<Vec<StageId>> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let wanted = self.wanted(&project, names)?;
        let missing = self.recorded(&executor, &wanted)?.missing;
        Ok(missing.into_iter().filter(|stage| wanted.contains(stage)).collect())
    }

    /// Runs stages once more from what the store has of their parents, and compares. Nothing that is in the store changes.
    /// The program has called [`begin`](crate::begin) and [`become_root`](crate::become_root).
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, and for stages that are not built. If
    /// a comparison is not possible. A stage that differs is no error.
    pub fn verify(&self, request: &VerifyRequest, observer: &dyn VerifyObserver) -> Result<VerifyReport> {
        let project = self.project();
        let _shared = self.share_store(|_| {})?;
        let nobody = std::sync::Arc::new(NullObserver);
        let executor = self.executor(&project, &request.execution, nobody.clone(), nobody)?;
        let wanted = self.wanted(&project, &request.names)?;
        let all = self.built(&project, &executor, &wanted)?;
        let count = all.len();
        let chosen = self.chosen(request, all)?;
        let runs = chosen.iter().map(|recorded| (recorded.stage, Runs::Yes));
        self.refuse_lacking_secrets(&project, runs)?;
        observer.begin(chosen.len());
        let left_out = count - chosen.len();
        let stages =
            Verification { executor: &executor, request, observer, chosen: &chosen, memory: self.memory() }
                .run(self.jobs(request.jobs))?;
        let _ = executor.context().finish();
        Ok(VerifyReport { stages, left_out })
    }

    /// What the store has of stages, and of all that they need.
    pub(super) fn recorded(
        &self,
        executor: &StageExecutor<'_>,
        stages: &BTreeSet<StageId>,
    ) -> Result<Recorded<StageOutput>> {
        executor.context().archives().lock()?;
        let (memory, stages) = (self.memory(), stages.iter().copied().collect::<Vec<_>>());
        // Another command may have built since the store was opened.
        memory.refresh();
        Ok(recorded(&executor.context().project().graph, &memory, executor, &stages)?)
    }

    /// The actions that the project had at an earlier time, as far as they are known. One that is not known counts as new.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if there is no such build or revision, or if the revision has no lock.
    pub fn actions_since(&self, since: &Since) -> Result<BTreeSet<ActionKey>> {
        keys_since(self, since)
    }

    /// The stages of a request that are in the sample and new.
    fn chosen(
        &self,
        request: &VerifyRequest,
        mut stages: Vec<RecordedStage<StageOutput>>,
    ) -> Result<Vec<RecordedStage<StageOutput>>> {
        if let Some(known) = &request.since {
            stages.retain(|stage| !known.contains(&stage.description.key()));
        }
        if let Some(sample) = request.sample {
            // At least one: a sample of nothing would be green for nothing.
            let first = stages.first().cloned();
            stages.retain(|stage| sample.has(&stage.description.key()));
            if stages.is_empty() {
                stages.extend(first);
            }
        }
        Ok(stages)
    }

    /// The stages that names mean.
    pub(super) fn wanted(&self, project: &Project<'_>, names: &[String]) -> Result<BTreeSet<StageId>> {
        if names.is_empty() {
            return Ok(listed_stages(project).into_iter().collect());
        }
        let mut wanted = BTreeSet::new();
        for name in names {
            match project.targets(name) {
                Ok(targets) => {
                    let stages: Vec<_> =
                        targets.iter().filter_map(|target| project.target_stage(target)).collect();
                    wanted.extend(project.graph.needed_for(&stages));
                }
                Err(_) => {
                    wanted.insert(self.find_stage(name)?);
                }
            }
        }
        Ok(wanted)
    }

    /// How many stages run at a time.
    pub(super) fn jobs(&self, asked: Option<NonZeroUsize>) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        asked.or(self.settings.jobs).map_or(cores, usize::from)
    }
}

/// A verification under way.
struct Verification<'a> {
    executor: &'a StageExecutor<'a>,
    request: &'a VerifyRequest,
    observer: &'a dyn VerifyObserver,
    chosen: &'a [RecordedStage<StageOutput>],
    memory: RunMemory<'a>,
}

impl Verification<'_> {
    /// Runs all stages, so many at a time. They do not depend on each other: each starts from what is in the store.
    fn run(&self, jobs: usize) -> Result<Vec<VerifiedStage>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(recorded) = self.chosen.get(at) else { return Ok(()) };
                match self.stage(recorded) {
                    Ok(verified) => done.lock().expect("no panic while held").push((at, verified)),
                    Err(error) => {
                        // The others stop at their next stage.
                        next.store(self.chosen.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let worked: Result<Vec<()>, StageError> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        worked?;
        let mut done = done.into_inner().expect("no panic while held");
        done.sort_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, verified)| verified).collect())
    }

    /// A program that writes the time of the day writes the same twice within a second.
    fn let_clock_go_on(&self, recorded: &RecordedStage<StageOutput>) -> Result<(), StageError> {
        let name = self.executor.context().project().graph.name(recorded.stage);
        let made = self.memory.last_run(name)?.map_or(0, |last| last.time);
        let until = UNIX_EPOCH + Duration::from_secs(made) + APART;
        while SystemTime::now() < until && until < SystemTime::now() + APART {
            if self.request.execution.cancel.is_cancelled() {
                return Err(StageError::Interrupted);
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Notes what differs by itself. What differs on another machine says nothing about the runs on this one.
    fn remember(
        &self,
        recorded: &RecordedStage<StageOutput>,
        verdict: &StageVerdict,
    ) -> Result<(), StageError> {
        let differing: Vec<_> = match verdict {
            StageVerdict::Equal => Vec::new(),
            StageVerdict::Differs(files) => {
                files.iter().filter(|file| file.varied.is_empty()).map(|file| file.path.clone()).collect()
            }
            StageVerdict::ImageDiffers { .. } | StageVerdict::Failed { .. } => return Ok(()),
        };
        let name = self.executor.context().project().graph.name(recorded.stage);
        Ok(self.memory.remember_comparison(name, recorded.description.key(), &differing)?)
    }

    /// Runs a stage as often as it is asked for, and no more once it has differed.
    fn stage(&self, recorded: &RecordedStage<StageOutput>) -> Result<VerifiedStage, StageError> {
        self.let_clock_go_on(recorded)?;
        self.observer.started(recorded.stage);
        let mut stage = VerifiedStage {
            stage: recorded.stage,
            verified: Verified { verdict: StageVerdict::Equal, elapsed: Duration::ZERO },
            expected: match self.executor.context().project().is_reproducible(recorded.stage) {
                true => Reproducible::Expected,
                false => Reproducible::Waived,
            },
        };
        for _ in 0..self.request.times.get() {
            let name = self.executor.context().project().graph.name(recorded.stage).as_str();
            let keep = self.request.keep.as_ref().map(|dir| dir.join(name));
            let options = VerifyOptions { keep: keep.as_deref(), vary: &self.request.vary };
            let verified = verify_stage(self.executor, recorded, options)?;
            let elapsed = stage.verified.elapsed + verified.elapsed;
            stage.verified = Verified { elapsed, ..verified };
            if !stage.is_equal() {
                break;
            }
        }
        self.remember(recorded, &stage.verified.verdict)?;
        self.observer.finished(&stage);
        Ok(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_its_share_and_a_seed_draws_the_same() {
        let key = |n: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&fastrand::Rng::with_seed(n).u64(..).to_le_bytes());
            ActionKey::from_bytes(bytes)
        };
        let keys: Vec<_> = (0..2000).map(key).collect();
        let drawn = |share, seed| keys.iter().filter(|key| Sample { share, seed }.has(key)).count();
        assert!((150..250).contains(&drawn(0.1, 1)), "{}", drawn(0.1, 1));
        assert_eq!(drawn(0.1, 7), drawn(0.1, 7));
        assert_eq!((drawn(1.0, 3), drawn(0.0, 3)), (2000, 0));
    }
}
