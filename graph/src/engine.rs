//! Builds: looks up what is there, runs what is not, several stages at a time.
//!
//! One coordinator decides; workers only run. The coordinator describes a stage as soon as its inputs are known,
//! looks its action up, and hands it to a worker if there is nothing to be found. Because a description covers what
//! the inputs *made* and not what they *are*, a stage that ran again and made the same leaves all after it fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ibuild_cache::{ActionKey, Record};
use tracing::{debug, info};

use crate::panics::contained;
use crate::recall::{Found, recall};
use crate::{
    Build, BuildError, BuildReport, BuildResult, BuiltStage, Description, DirtyReason, EngineOptions, Equal,
    Event, Executor, Keep, LastRun, Made, Observer, OnFailure, Outcome, Report, RunMemory, StageGraph,
    StageId, StageName, StageReport,
};

/// Each time something damaged is out of the way, so this is reached only where a disk damages faster than one builds.
const MOST_REPAIRS: usize = 16;

/// Builds a graph with an executor.
pub struct Engine<'a, E: Executor> {
    graph: &'a StageGraph,
    memory: &'a RunMemory<'a>,
    executor: &'a E,
    observer: &'a dyn Observer,
    options: EngineOptions,
}

/// Why the action of `description` is not the stage's last one. Asked only when there is no result to be had.
/// Changes of the stage itself come before those that follow from what its inputs made: they are what somebody edited.
pub(crate) fn reason_for<E: Executor>(
    executor: &E,
    stage: StageId,
    description: &Description,
    last: Option<&LastRun>,
) -> DirtyReason {
    if last.is_some_and(|last| last.key == description.key()) {
        return DirtyReason::OutputMissing;
    }
    match last.and_then(LastRun::description) {
        Some(before) => {
            let mut changes = executor.changes(&before, description);
            changes.sort_by_key(|change| executor.is_inherited(change));
            DirtyReason::Changed(changes)
        }
        None if executor.has_failed(stage) => DirtyReason::Failed,
        None => DirtyReason::NeverBuilt,
    }
}

fn has_panicked<O, E: std::error::Error + 'static>(report: &Report<O, BuildError<E>>) -> bool {
    report.failures.iter().any(|(_, error)| error.is_panic())
}

/// A stage that has to run.
struct Job<O> {
    stage: StageId,
    description: Description,
    inputs: Vec<O>,
    reason: DirtyReason,
}

/// What there is to be had of a stage.
enum Judged<O> {
    /// Its result.
    Found {
        output: O,
        millis: u64,
        /// Whether its action is the one that is remembered as its last.
        is_last: bool,
    },
    /// Nothing, and why.
    Missing(DirtyReason),
}

/// What a stage made, not remembered yet.
struct Unkept<O, E> {
    stage: StageId,
    description: Description,
    output: O,
    keep: Keep<E>,
    reason: DirtyReason,
    millis: u64,
    /// Whoever else wants the same waits until it can be found.
    _lock: Box<dyn Send>,
}

/// How a worker came by a stage's output.
enum Worked<O, E> {
    /// Another process made it in the meantime.
    Found(O),
    /// By running it.
    Ran {
        /// Whether that is what its last run had made.
        same_output: bool,
        /// What differs from what the same action had made before.
        nondeterministic: Vec<String>,
        /// What it made.
        made: Unkept<O, E>,
    },
}

/// What the coordinator is told, by workers and by the keeper.
enum News<O, E: std::error::Error + 'static> {
    Done { stage: StageId, result: Result<Worked<O, E>, BuildError<E>>, elapsed: Duration },
    Kept { stage: StageId, result: Result<(), BuildError<E>> },
}

/// How workers reach the coordinator, and the coordinator the keeper. What goes to the keeper is in the order in which
/// stages were settled, so a stage is never kept before what it stands on.
struct Lines<O, E: std::error::Error + 'static> {
    news: mpsc::Sender<News<O, E>>,
    unkept: mpsc::Sender<Unkept<O, E>>,
}

/// The coordinator's view of a build. Every stage is in exactly one of: `waiting`, `ready`, running (counted), or
/// `settled` with its fate in the report; what a settled one made may still have to be kept (counted).
struct Progress<O, E: std::error::Error + 'static> {
    waiting: Vec<StageId>,
    ready: Vec<Job<O>>,
    running: usize,
    /// Stages whose output is with the keeper. Nothing is decided about them until it is kept, if they have to be looked at
    /// again: they would not be found, and wait for the lock that goes with what is kept.
    keeping: BTreeSet<StageId>,
    /// Stages that are not remembered, because they could not be kept or stand on such.
    lost: BTreeSet<StageId>,
    settled: BTreeSet<StageId>,
    /// What became of stages that ran, and were looked at again since on account of something damaged.
    ran_before: BTreeMap<StageId, StageReport>,
    hits: Vec<(StageName, Description, u64)>,
    keys: BTreeMap<StageId, ActionKey>,
    repairs: usize,
    report: Report<O, BuildError<E>>,
}

impl<'a, E: Executor> Engine<'a, E> {
    /// Prepares a build; nothing happens yet.
    pub fn new(
        graph: &'a StageGraph,
        memory: &'a RunMemory<'a>,
        executor: &'a E,
        observer: &'a dyn Observer,
        options: EngineOptions,
    ) -> Self {
        Self { graph, memory, executor, observer, options }
    }

    /// Builds `targets` and everything that they need.
    pub fn build(&self, targets: &[StageId]) -> BuildResult<BuildReport<E>, E> {
        let start = Instant::now();
        let report = Report { stages: Vec::new(), outputs: BTreeMap::new(), failures: Vec::new() };
        let mut progress = Progress {
            waiting: self.graph.needed_for(targets),
            ready: Vec::new(),
            running: 0,
            keeping: BTreeSet::new(),
            lost: BTreeSet::new(),
            settled: BTreeSet::new(),
            ran_before: BTreeMap::new(),
            hits: Vec::new(),
            keys: BTreeMap::new(),
            repairs: 0,
            report,
        };
        std::thread::scope(|scope| {
            let ((news, receiver), (unkept, queue)) = (mpsc::channel(), mpsc::channel());
            let lines = Lines { news: news.clone(), unkept };
            scope.spawn(move || self.keeper(&queue, &news));
            loop {
                // Settle what needs no work, start what does, then wait for one to be done.
                while self.advance(&mut progress)? {}
                self.start(scope, &lines.news, &mut progress);
                if progress.running + progress.keeping.len() == 0 {
                    break;
                }
                match receiver.recv().expect("this thread holds a sender") {
                    News::Done { stage, result, elapsed } => {
                        self.settle(stage, result, elapsed, &lines.unkept, &mut progress)
                    }
                    News::Kept { stage, result } => self.settle_kept(stage, result, &mut progress),
                }
            }
            BuildResult::<_, E>::Ok(())
        })?;
        if has_panicked(&progress.report) {
            // What it left half done may be what would be written.
            return Ok(progress.report);
        }
        let succeeded = progress.report.failures.is_empty();
        let build = succeeded.then(|| self.record(targets, &progress, start.elapsed()));
        self.memory.remember_end(&progress.hits, build)?;
        Ok(progress.report)
    }

    /// What was built. Its project and its time are the memory's business.
    fn record(
        &self,
        targets: &[StageId],
        progress: &Progress<E::Output, E::Error>,
        elapsed: Duration,
    ) -> Build {
        let mut targets = targets.to_vec();
        targets.sort_by_key(|target| self.graph.name(*target).as_str());
        targets.dedup();
        let report = &progress.report;
        let is_run = |s: &&StageReport| matches!(s.outcome, Outcome::Ran { .. });
        let ran: BTreeSet<_> = report.stages.iter().filter(is_run).map(|s| s.stage).collect();
        let needed = self.graph.needed_for(&targets);
        let places: BTreeMap<_, _> = (0..).zip(&needed).map(|(at, stage)| (*stage, at)).collect();
        let stages = needed.iter().map(|stage| BuiltStage {
            stage: self.graph.name(*stage).to_string(),
            key: progress.keys[stage],
            inputs: self.graph.inputs(*stage).iter().map(|input| places[input]).collect(),
            ran: ran.contains(stage),
        });
        Build {
            project: String::new(),
            targets: targets.iter().map(|target| self.graph.name(*target).to_string()).collect(),
            time: 0,
            millis: elapsed.as_millis() as u64,
            stages: stages.collect(),
            made: targets.iter().map(|target| report.outputs[target].to_bytes()).collect(),
        }
    }

    /// Decides about the waiting stages whose inputs are settled. Says whether there were any. They wait in build order,
    /// so one look at each is enough for a whole chain of hits.
    fn advance(&self, progress: &mut Progress<E::Output, E::Error>) -> BuildResult<bool, E> {
        let mut any = false;
        for stage in std::mem::take(&mut progress.waiting) {
            let inputs = self.graph.inputs(stage);
            let is_kept = !progress.keeping.contains(&stage);
            if is_kept && inputs.iter().all(|input| progress.settled.contains(input)) {
                any = true;
                self.decide(stage, progress)?;
            } else {
                progress.waiting.push(stage);
            }
        }
        Ok(any)
    }

    fn decide(&self, stage: StageId, progress: &mut Progress<E::Output, E::Error>) -> BuildResult<(), E> {
        let inputs = self.graph.inputs(stage);
        let outputs: Option<Vec<_>> =
            inputs.iter().map(|i| progress.report.outputs.get(i).cloned()).collect();
        let Some(inputs) = outputs else {
            self.conclude(stage, Outcome::Skipped, Duration::ZERO, progress);
            return Ok(());
        };
        let start = Instant::now();
        let judged = match self.contained(stage, || self.judge(stage, &inputs)) {
            Err(BuildError::Store(error)) => return Err(error.into()),
            judged => judged,
        };
        let (outcome, failure) = match judged {
            Ok((description, Judged::Found { output, millis, is_last })) => {
                progress.keys.insert(stage, description.key());
                if !is_last {
                    progress.hits.push((self.graph.name(stage).clone(), description, millis));
                }
                progress.report.outputs.insert(stage, output);
                (Outcome::Hit, None)
            }
            Ok((description, Judged::Missing(reason))) => {
                progress.keys.insert(stage, description.key());
                progress.ready.push(Job { stage, description, inputs, reason });
                return Ok(());
            }
            Err(error) => (self.outcome_of(&error), Some(error)),
        };
        progress.report.failures.extend(failure.map(|error| (stage, error)));
        self.conclude(stage, outcome, start.elapsed(), progress);
        Ok(())
    }

    /// Describes a stage and looks for its result.
    fn judge(
        &self,
        stage: StageId,
        inputs: &[E::Output],
    ) -> BuildResult<(Description, Judged<E::Output>), E> {
        let described = self.executor.describe(stage, &inputs.iter().collect::<Vec<_>>());
        let description = described.map_err(|source| self.stage_error(stage, source))?;
        let key = description.key();
        let forced = self.options.forced.contains(&stage);
        let found = if forced { None } else { self.look_up(stage, &key, inputs)? };
        let last = self.memory.last_run(self.graph.name(stage))?;
        let judged = match found {
            Some((output, millis)) => {
                Judged::Found { output, millis, is_last: last.is_some_and(|last| last.key == key) }
            }
            None if forced => Judged::Missing(DirtyReason::Forced),
            None => Judged::Missing(reason_for(self.executor, stage, &description, last.as_ref())),
        };
        self.trace(stage, &key, &judged);
        Ok((description, judged))
    }

    fn trace(&self, stage: StageId, key: &ActionKey, judged: &Judged<E::Output>) {
        let stage = self.graph.name(stage);
        match judged {
            Judged::Found { millis, .. } => info!(%stage, key = %key.short(), saved_ms = millis, "hit"),
            Judged::Missing(reason) => info!(%stage, key = %key.short(), %reason, "miss"),
        }
    }

    /// Works on a stage; a panic is an error like any other.
    fn contained<T>(&self, stage: StageId, work: impl FnOnce() -> BuildResult<T, E>) -> BuildResult<T, E> {
        contained(work)
            .unwrap_or_else(|text| Err(BuildError::Panicked { stage: self.graph.name(stage).clone(), text }))
    }

    fn look_up(&self, stage: StageId, key: &ActionKey, inputs: &[E::Output]) -> BuildResult<Found<E>, E> {
        let inputs: Vec<_> = inputs.iter().collect();
        recall(self.graph, self.memory, self.executor, stage, key, &inputs)
    }

    fn stage_error(&self, stage: StageId, source: E::Error) -> BuildError<E::Error> {
        BuildError::Stage { stage: self.graph.name(stage).clone(), source }
    }

    /// Hands ready stages to workers, one thread each: a thread outlives the process that it starts, which is what
    /// ties that process's life to ours.
    fn start<'scope>(
        &'scope self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        sender: &mpsc::Sender<News<E::Output, E::Error>>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        if self.is_stopped(progress) {
            for job in std::mem::take(&mut progress.ready) {
                self.conclude(job.stage, Outcome::Skipped, Duration::ZERO, progress);
            }
        }
        while progress.running < self.options.jobs.max(1) && !progress.ready.is_empty() {
            let job = progress.ready.remove(0);
            self.observer.event(Event::Started { stage: job.stage, reason: &job.reason });
            let sender = sender.clone();
            progress.running += 1;
            scope.spawn(move || self.worker(job, &sender));
        }
    }

    /// After a panic nothing is started, because what it left half done may be what the next stage would look at.
    fn is_stopped(&self, progress: &Progress<E::Output, E::Error>) -> bool {
        match self.options.on_failure {
            OnFailure::Stop => !progress.report.failures.is_empty(),
            OnFailure::KeepGoing => has_panicked(&progress.report),
        }
    }

    /// Makes a stage and tells. The coordinator hears from every worker before it returns: it has a sender of its own
    /// channel, so it would not notice that a worker is gone.
    fn worker(&self, job: Job<E::Output>, news: &mpsc::Sender<News<E::Output, E::Error>>) {
        let (start, stage) = (Instant::now(), job.stage);
        let result = self.contained(stage, || self.work(job));
        let _ = news.send(News::Done { stage, result, elapsed: start.elapsed() });
    }

    fn work(&self, job: Job<E::Output>) -> BuildResult<Worked<E::Output, E::Error>, E> {
        let Job { stage, description, inputs, reason } = job;
        let key = description.key();
        let lock = self.executor.lock(stage, &key).map_err(|e| self.stage_error(stage, e))?;
        self.memory.refresh();
        if reason != DirtyReason::Forced {
            if let Some((output, _)) = self.look_up(stage, &key, &inputs)? {
                return Ok(Worked::Found(output));
            }
            if let Some(output) = self.equal(stage, &description, &inputs, &reason)? {
                return Ok(Worked::Found(output));
            }
        }
        let (before, made_before) = (self.last_output(stage)?, self.made_before(&key)?);
        let start = Instant::now();
        let Made { output, keep } = self
            .executor
            .run_described(stage, &description, &inputs.iter().collect::<Vec<_>>())
            .map_err(|source| self.stage_error(stage, source))?;
        let millis = start.elapsed().as_millis() as u64;
        let same_output = before.is_some_and(|before| self.executor.is_same(&before, &output));
        let nondeterministic =
            made_before.map_or_else(Vec::new, |old| self.executor.differences(&old, &output));
        debug!(stage = %self.graph.name(stage), millis, same_output, "ran");
        let made = Unkept { stage, description, output, keep, reason, millis, _lock: lock };
        Ok(Worked::Ran { same_output, nondeterministic, made })
    }

    /// What another action made that this one would make as well, remembered for this one from here on.
    fn equal(
        &self,
        stage: StageId,
        description: &Description,
        inputs: &[E::Output],
        reason: &DirtyReason,
    ) -> BuildResult<Option<E::Output>, E> {
        let (name, given) = (self.graph.name(stage), inputs.iter().collect::<Vec<_>>());
        let earlier = self.memory.last_runs(name)?;
        let equal = self.executor.equal(stage, description, &earlier, &given);
        let Some(Equal { key, why, facts }) = equal.map_err(|source| self.stage_error(stage, source))? else {
            return Ok(None);
        };
        let Some((output, millis)) = self.look_up(stage, &key, inputs)? else { return Ok(None) };
        info!(stage = %name, key = %key.short(), why, "an earlier run made the same");
        self.memory.remember_run(name, description, &output, facts, format!("{reason}; {why}"), millis)?;
        Ok(Some(output))
    }

    /// What an action made when it ran before, whether or not that is still there.
    fn made_before(&self, key: &ActionKey) -> BuildResult<Option<E::Output>, E> {
        Ok(self.memory.result(key)?.and_then(|result| result.output()))
    }

    /// Keeps what stages made, one at a time: it is limited by processors and disk, and takes memory.
    fn keeper(
        &self,
        queue: &mpsc::Receiver<Unkept<E::Output, E::Error>>,
        news: &mpsc::Sender<News<E::Output, E::Error>>,
    ) {
        for made in queue {
            let stage = made.stage;
            let result = self.contained(stage, || self.keep(made));
            let _ = news.send(News::Kept { stage, result });
        }
    }

    fn keep(&self, made: Unkept<E::Output, E::Error>) -> BuildResult<(), E> {
        let facts = (made.keep)().map_err(|source| self.stage_error(made.stage, source))?;
        let (name, reason) = (self.graph.name(made.stage), made.reason.to_string());
        debug!(stage = %name, key = %made.description.key().short(), "is durable, and remembered from here on");
        Ok(self.memory.remember_run(name, &made.description, &made.output, facts, reason, made.millis)?)
    }

    fn last_output(&self, stage: StageId) -> BuildResult<Option<E::Output>, E> {
        Ok(self.memory.last_output(self.graph.name(stage))?)
    }

    fn settle(
        &self,
        stage: StageId,
        result: BuildResult<Worked<E::Output, E::Error>, E>,
        elapsed: Duration,
        keeper: &mpsc::Sender<Unkept<E::Output, E::Error>>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        progress.running -= 1;
        let (output, outcome) = match result {
            Ok(Worked::Found(output)) => (Some(output), Outcome::Hit),
            Ok(Worked::Ran { same_output, nondeterministic, made }) => {
                let (output, reason) = (made.output.clone(), made.reason.clone());
                progress.keeping.insert(stage);
                keeper.send(made).expect("the keeper ends after the coordinator");
                (Some(output), Outcome::Ran { reason, same_output, nondeterministic })
            }
            Err(BuildError::Stage { source, .. })
                if progress.repairs < MOST_REPAIRS && self.executor.lacks_input(&source) =>
            {
                return self.reconsider(stage, progress);
            }
            Err(BuildError::Stage { source, .. })
                if progress.repairs < MOST_REPAIRS && self.executor.is_outdated(stage, &source) =>
            {
                progress.repairs += 1;
                return progress.waiting.push(stage);
            }
            Err(error) => {
                let outcome = self.outcome_of(&error);
                progress.report.failures.push((stage, error));
                (None, outcome)
            }
        };
        progress.report.outputs.extend(output.map(|output| (stage, output)));
        self.conclude(stage, outcome, elapsed, progress);
    }

    /// A stage whose output could not be kept failed after all. What stands on it already comes to its end, and is not
    /// remembered in vain: it would be a hit if what it stands on were there.
    fn settle_kept(
        &self,
        stage: StageId,
        result: BuildResult<(), E>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        progress.keeping.remove(&stage);
        let stands_on_lost = self.graph.inputs(stage).iter().any(|input| progress.lost.contains(input));
        if result.is_err() || stands_on_lost {
            progress.lost.insert(stage);
        } else {
            self.observer.event(Event::Kept { stage });
        }
        let Err(error) = result else { return };
        let outcome = self.outcome_of(&error);
        progress.report.failures.push((stage, error));
        progress.report.outputs.remove(&stage);
        progress.waiting.retain(|waiting| *waiting != stage);
        let elapsed = match progress.report.stages.iter().position(|report| report.stage == stage) {
            Some(place) => progress.report.stages.remove(place).elapsed,
            None => Duration::ZERO,
        };
        self.conclude(stage, outcome, elapsed, progress);
    }

    /// What became of a stage that could not be made.
    fn outcome_of(&self, error: &BuildError<E::Error>) -> Outcome {
        match error {
            BuildError::Stage { source, .. } if self.executor.is_interrupt(source) => Outcome::Interrupted,
            _ => Outcome::Failed,
        }
    }

    /// Lets a stage and everything that it needs wait again, because something of what it needs is gone.
    fn reconsider(&self, stage: StageId, progress: &mut Progress<E::Output, E::Error>) {
        progress.repairs += 1;
        let mut again = self.graph.needed_for(&[stage]);
        // Those that are not settled wait or run already, on account of another stage with the same trouble.
        again.retain(|input| progress.settled.remove(input));
        again.iter().for_each(|input| drop(progress.report.outputs.remove(input)));
        let (reset, rest) = std::mem::take(&mut progress.report.stages)
            .into_iter()
            .partition::<Vec<_>, _>(|report| again.contains(&report.stage));
        progress.report.stages = rest;
        let ran = reset.into_iter().filter(|report| matches!(report.outcome, Outcome::Ran { .. }));
        progress.ran_before.extend(ran.map(|report| (report.stage, report)));
        self.observer.event(Event::Again { stage, stages: again.len() });
        progress.waiting.extend(again);
        progress.waiting.push(stage);
    }

    /// The only place where a stage becomes settled.
    fn conclude(
        &self,
        stage: StageId,
        outcome: Outcome,
        elapsed: Duration,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        let report = StageReport { stage, outcome, elapsed };
        let failure = progress.report.failures.iter().rev().find(|(failed, _)| *failed == stage);
        let error = failure.map(|(_, error)| error as &(dyn std::error::Error + 'static));
        self.observer.event(Event::Finished { report: &report, error });
        progress.settled.insert(stage);
        // One that ran in this build and is found now has run in this build.
        let before = progress.ran_before.remove(&stage).filter(|_| report.outcome == Outcome::Hit);
        progress.report.stages.push(before.unwrap_or(report));
    }
}
