//! The transaction of a build: what is locked, cleaned up, recovered, executed, recorded in the lock, put into its place, done
//! again where something in the store is damaged, and trimmed at the end.

use std::path::PathBuf;
use std::sync::Arc;

use ibuild_graph::{BuildError, Engine, EngineOptions, Outcome, StageId};
use ibuild_stages::{Project, StageError, StageExecutor, Target, Unlocked, recover};

use super::goal::{BuildRequest, Goal};
use super::lock;
use super::publication::{Placed, Publication, StageReports, is_damaged};
use super::{BuildObserver, Workspace};
use crate::error::Result;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSummary {
    /// The files of the targets, in the order of the request.
    pub paths: Vec<PathBuf>,
    /// How many stages ran.
    pub ran: usize,
    /// How many results were in the store.
    pub cached: usize,
}

impl Workspace {
    /// Builds what a request asks for, and puts the targets into their places. What is in the store is not made again; what is
    /// made is in the store when this returns, whatever becomes of the rest. The program has called [`begin`](crate::begin) and
    /// [`become_root`](crate::become_root).
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, before anything is done. Of a stage
    /// that failed: its own kind, [`Failed`](crate::ErrorKind::Failed) if it is the recipe's fault. Targets that were in their
    /// places before the failure stay there, and the observer has heard of each.
    pub fn build<O: BuildObserver + 'static>(
        &self,
        request: &BuildRequest,
        observer: Arc<O>,
    ) -> Result<BuildSummary> {
        let project = self.project();
        let goal = Goal::of(self, &project, request)?;
        let shared = self.share_store(|text| observer.note("store", text))?;
        self.clean_up(&*observer)?;
        let executor = self.executor(&project, &request.execution, observer.clone(), observer.clone())?;
        self.check_secrets(&executor, &goal, &*observer)?;
        self.recipe.notices.iter().for_each(|notice| observer.note("recipe", &notice.to_string()));
        let build = Build { workspace: self, project: &project, executor: &executor, goal, request };
        let made = build.make(&*observer);
        observer.end();
        if !made.as_ref().is_ok_and(|(_, report)| report.has_panicked()) {
            // Digests that were learnt on the way only save time.
            let _ = executor.context().finish();
        }
        let (placed, report) = made?;
        placed.tell(&project, &report, &*observer);
        drop(shared);
        if report.ran() > 0 {
            self.trim(&*observer);
        }
        if let Some(error) = placed.failed {
            return Err(error);
        }
        let (ran, cached) = (report.ran(), report.cached());
        match first_failure(report) {
            None => Ok(BuildSummary {
                paths: placed.in_place.into_iter().map(|it| it.path).collect(),
                ran,
                cached,
            }),
            Some(error) => Err(error.into()),
        }
    }

    /// Cleans up after builds that were killed, and brings back what is known of results if the index is lost.
    fn clean_up(&self, observer: &dyn BuildObserver) -> Result<()> {
        if let Err(error) = self.store.sweep() {
            observer.note("store", &format!("what killed builds have left stays there: {error}"));
        }
        if self.store.lacks_index() {
            match recover(&self.store)? {
                0 => {}
                count => observer
                    .note("store", &format!("the index was lost; {count} results were found beside it")),
            }
        }
        Ok(())
    }
}

/// What came of executing stages.
struct Executed {
    report: StageReports,
    lock: LockCheck,
}

/// Whether the stages that were made have used what the lock says, or the lock says now what they used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockCheck {
    Agrees,
    Disagrees,
}

/// A build under way.
struct Build<'a> {
    workspace: &'a Workspace,
    project: &'a Project<'a>,
    executor: &'a StageExecutor<'a>,
    goal: Goal,
    request: &'a BuildRequest,
}

impl Build<'_> {
    /// Builds and puts the targets into their places; once more if an image turns out to be damaged in the store.
    fn make(&self, observer: &dyn BuildObserver) -> Result<(Placed<'_>, StageReports)> {
        let publication = Publication {
            store: &self.workspace.store,
            project: self.project,
            finished: self.executor.context().finished(),
            dir: self.workspace.output_dir(self.request.output.as_deref()),
        };
        let mut executed = self.execute(observer)?;
        let mut placed = publication.publish(self.publishable(&executed), &executed.report);
        if let Some(error) = placed.failed.take_if(|error| is_damaged(error)) {
            observer.note("store", &format!("{error}, and is made again"));
            let Executed { report, lock } = self.execute(observer)?;
            executed = Executed { report: after(&executed.report, report), lock };
            placed = publication.publish(self.publishable(&executed), &executed.report);
        }
        let report = executed.report;
        publication.note(&placed, &self.goal.targets, observer);
        Ok((placed, report))
    }

    /// The targets that may get into their places, if they were made.
    fn publishable(&self, executed: &Executed) -> &[Target] {
        match executed.lock {
            LockCheck::Agrees => &self.goal.targets,
            LockCheck::Disagrees => &[],
        }
    }

    fn execute(&self, observer: &dyn BuildObserver) -> Result<Executed> {
        let context = self.executor.context();
        // A lock that cannot be read is no failure of the stage that wants it first.
        let locked = context.archives().lock()?;
        let needed = self.project.graph.needed_for(&self.goal.stages);
        context.prepare(&needed)?;
        lock::note_recorded(&locked, &context.archives().lock()?, observer);
        let memory = self.workspace.memory();
        observer.begin(needed.len());
        let engine = Engine::new(&self.project.graph, &memory, self.executor, observer, self.options());
        let report = engine.build(&self.goal.stages)?;
        let found = report.stages.iter().filter(|settled| settled.outcome == Outcome::Hit);
        context.forget_failures(found.map(|settled| self.project.graph.name(settled.stage).as_str()))?;
        let lock = match self.settle_lock(&needed, &report, observer) {
            Ok(lock) => lock,
            Err(error) if report.failures.is_empty() => return Err(error),
            // The failure of a stage is what the build ends with.
            Err(error) => {
                observer.note("lock", &format!("no target is published: {error}"));
                LockCheck::Disagrees
            }
        };
        Ok(Executed { report, lock })
    }

    /// Compares the lock with what the stages that were made have used, or writes that down. Other stages may have failed: what
    /// was made is published all the same, and is to be of the lock all the same.
    fn settle_lock(
        &self,
        needed: &[StageId],
        report: &StageReports,
        observer: &dyn BuildObserver,
    ) -> Result<LockCheck> {
        let unlocked = self.request.execution.unlocked;
        if report.has_panicked() {
            // What is known of the stages may be partial.
            return Ok(if unlocked == Unlocked::Refuse { LockCheck::Disagrees } else { LockCheck::Agrees });
        }
        let made = needed.iter().copied().filter(|stage| report.outputs.contains_key(stage));
        lock::settle(self.workspace, self.executor, &made.collect::<Vec<_>>(), unlocked, observer)?;
        Ok(LockCheck::Agrees)
    }

    fn options(&self) -> EngineOptions {
        let jobs = self.workspace.jobs(self.request.jobs);
        EngineOptions { jobs, on_failure: self.request.on_failure, forced: self.goal.forced.clone() }
    }
}

/// The report of a build that was done once more in the same command: what ran the first time has run.
fn after(first: &StageReports, mut again: StageReports) -> StageReports {
    for report in again.stages.iter_mut().filter(|report| report.outcome == Outcome::Hit) {
        let earlier = first.stages.iter().find(|earlier| earlier.stage == report.stage);
        if let Some(earlier) = earlier.filter(|earlier| matches!(earlier.outcome, Outcome::Ran { .. })) {
            report.clone_from(earlier);
        }
    }
    again
}

/// The failure that is reported: the first one, unless there was a panic, of which others may be consequences. The others
/// have had their line while the build ran.
fn first_failure(report: StageReports) -> Option<BuildError<StageError>> {
    let panic = report.failures.iter().position(|(_, error)| error.is_panic());
    report.failures.into_iter().nth(panic.unwrap_or(0)).map(|(_, error)| error)
}
