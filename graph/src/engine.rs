//! Builds: looks up what is there, runs what is not, several stages at a time.
//!
//! One coordinator decides; workers only run. The coordinator describes a stage as soon as its inputs are known,
//! looks its action up, and hands it to a worker if there is nothing to be found. Because a description covers what
//! the inputs *made* and not what they *are*, a stage that ran again and made the same leaves all after it fresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ibuild_cache::{ActionKey, Record};

use crate::work::{Commits, State, Work};
use crate::worker::{Completion, Forced, Job, Judged, Message, PendingCommit, Worker};
use crate::{
    Build, BuildError, BuildReport, BuildResult, BuiltStage, Description, EngineOptions, Event, Executor,
    Observer, OnFailure, Outcome, Report, RunMemory, StageGraph, StageId, StageName, StageReport,
};

/// Each repair removes something damaged, so this is reached only if the disk corrupts data faster than builds repair it.
const MAX_REPAIRS: usize = 16;

/// Builds a graph with an executor.
pub struct Engine<'a, E: Executor> {
    worker: Worker<'a, E>,
    observer: &'a dyn Observer,
    options: EngineOptions,
}

/// How workers reach the coordinator, and the coordinator the committer. What goes to the committer is in the order in which
/// stages were settled, so a stage is never committed before what it stands on.
struct Channels<O, E: std::error::Error + 'static> {
    messages: mpsc::Sender<Message<O, E>>,
    commits: mpsc::Sender<PendingCommit<O, E>>,
}

/// The coordinator's view of a build: the state of each stage, and what there is to tell at the end.
struct Progress<O, E: std::error::Error + 'static> {
    work: Work<O>,
    /// Stages whose commit failed, and stages that were made from them: none of them is found again.
    lost: BTreeSet<StageId>,
    /// Reports of stages that ran, and were evaluated again since because something was damaged.
    ran_before: BTreeMap<StageId, StageReport>,
    hits: Vec<(StageName, Description, u64)>,
    keys: BTreeMap<StageId, ActionKey>,
    repairs: usize,
    report: Report<O, BuildError<E>>,
}

impl<O, E: std::error::Error + 'static> Progress<O, E> {
    fn of(stages: Vec<StageId>) -> Self {
        let report = Report { stages: Vec::new(), outputs: BTreeMap::new(), failures: Vec::new() };
        Self {
            work: Work::new(stages),
            lost: BTreeSet::new(),
            ran_before: BTreeMap::new(),
            hits: Vec::new(),
            keys: BTreeMap::new(),
            repairs: 0,
            report,
        }
    }
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
        Self { worker: Worker { graph, memory, executor }, observer, options }
    }

    /// Builds `targets` and everything that they need.
    pub fn build(&self, targets: &[StageId]) -> BuildResult<BuildReport<E>, E> {
        let start = Instant::now();
        let mut progress = Progress::of(self.worker.graph.needed_for(targets));
        self.coordinate(&mut progress)?;
        if progress.report.has_panicked() {
            // The panic may have left partial state, so nothing is recorded.
            return Ok(progress.report);
        }
        let succeeded = progress.report.failures.is_empty();
        let build = succeeded.then(|| self.record(targets, &progress, start.elapsed()));
        self.worker.memory.remember_end(&progress.hits, build)?;
        Ok(progress.report)
    }

    /// Settles what needs no work, starts what does, then waits for some of it to be done, until nothing is left.
    fn coordinate(&self, progress: &mut Progress<E::Output, E::Error>) -> BuildResult<(), E> {
        std::thread::scope(|scope| {
            let ((messages, receiver), (commits, pending)) = (mpsc::channel(), mpsc::channel());
            let channels = Channels { messages: messages.clone(), commits };
            scope.spawn(move || {
                pending.into_iter().for_each(|made| drop(messages.send(self.worker.commit(made))));
            });
            loop {
                while self.advance(progress)? {}
                self.start(scope, &channels.messages, progress);
                if !progress.work.is_under_way() {
                    return Ok(());
                }
                match receiver.recv().expect("this thread holds a sender") {
                    Message::Done { stage, result, elapsed } => {
                        self.settle(stage, result, elapsed, &channels.commits, progress);
                    }
                    Message::Committed { stage, result } => self.settle_commit(stage, result, progress),
                }
            }
        })
    }

    /// What was built. Its project and its time are the memory's business.
    fn record(
        &self,
        targets: &[StageId],
        progress: &Progress<E::Output, E::Error>,
        elapsed: Duration,
    ) -> Build {
        let mut targets = targets.to_vec();
        targets.sort_by_key(|target| self.worker.graph.name(*target).as_str());
        targets.dedup();
        let report = &progress.report;
        let is_run = |s: &&StageReport| matches!(s.outcome, Outcome::Ran { .. });
        let ran: BTreeSet<_> = report.stages.iter().filter(is_run).map(|s| s.stage).collect();
        let needed = self.worker.graph.needed_for(&targets);
        let places: BTreeMap<_, _> = (0..).zip(&needed).map(|(at, stage)| (*stage, at)).collect();
        let stages = needed.iter().map(|stage| BuiltStage {
            stage: self.worker.graph.name(*stage).to_string(),
            key: progress.keys[stage],
            inputs: self.worker.graph.inputs(*stage).iter().map(|input| places[input]).collect(),
            ran: ran.contains(stage),
        });
        Build {
            project: String::new(),
            targets: targets.iter().map(|target| self.worker.graph.name(*target).to_string()).collect(),
            time: 0,
            millis: elapsed.as_millis() as u64,
            stages: stages.collect(),
            made: targets.iter().map(|target| report.outputs[target].to_bytes()).collect(),
        }
    }

    /// Decides about the waiting stages whose inputs are settled. Says whether there were any. They are in build order, so one
    /// look at each is enough for a whole chain of hits.
    fn advance(&self, progress: &mut Progress<E::Output, E::Error>) -> BuildResult<bool, E> {
        let mut any = false;
        for stage in progress.work.waiting() {
            let inputs = self.worker.graph.inputs(stage);
            if inputs.iter().all(|input| progress.work.is_settled(*input)) {
                any = true;
                self.decide(stage, &inputs, progress)?;
            }
        }
        Ok(any)
    }

    fn decide(
        &self,
        stage: StageId,
        inputs: &[StageId],
        progress: &mut Progress<E::Output, E::Error>,
    ) -> BuildResult<(), E> {
        let outputs = inputs.iter().map(|input| progress.report.outputs.get(input).cloned());
        let Some(inputs) = outputs.collect::<Option<Vec<_>>>() else {
            self.conclude(stage, State::Skipped, Outcome::Skipped, Duration::ZERO, progress);
            return Ok(());
        };
        let start = Instant::now();
        let forced = if self.options.forced.contains(&stage) { Forced::Yes } else { Forced::No };
        match self.worker.judge(stage, &inputs, forced) {
            Err(BuildError::Store(error)) => return Err(error.into()),
            Err(error) => self.fail(stage, error, start.elapsed(), progress),
            Ok((description, Judged::Found { output, millis, is_last })) => {
                progress.keys.insert(stage, description.key());
                if !is_last {
                    let name = self.worker.graph.name(stage).clone();
                    progress.hits.push((name, description, millis));
                }
                progress.report.outputs.insert(stage, output);
                self.conclude(stage, State::Hit, Outcome::Hit, start.elapsed(), progress);
            }
            Ok((description, Judged::Missing(reason))) => {
                progress.keys.insert(stage, description.key());
                progress.work.change(stage, State::Ready(Job { stage, description, inputs, reason }));
            }
        }
        Ok(())
    }

    /// Hands ready stages to workers, one thread each: a thread outlives the process that it starts, which is what
    /// ties that process's life to ours.
    fn start<'scope>(
        &'scope self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        messages: &mpsc::Sender<Message<E::Output, E::Error>>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        let is_stopped = self.is_stopped(progress);
        for stage in progress.work.ready() {
            match self.commits_for(stage, progress) {
                Commits::Pending if !is_stopped => continue,
                Commits::Done if !is_stopped => {}
                _ => {
                    self.conclude(stage, State::Skipped, Outcome::Skipped, Duration::ZERO, progress);
                    continue;
                }
            }
            if progress.work.running() >= self.options.jobs.max(1) {
                return;
            }
            let State::Ready(job) = progress.work.change(stage, State::Running) else {
                unreachable!("it was ready a moment ago")
            };
            self.observer.event(Event::Started { stage, reason: &job.reason });
            let messages = messages.clone();
            scope.spawn(move || drop(messages.send(self.worker.run(job))));
        }
    }

    /// Whether a stage has what it needs of the commits of its inputs.
    fn commits_for(&self, stage: StageId, progress: &Progress<E::Output, E::Error>) -> Commits {
        match self.worker.executor.needs_commits(stage) {
            true => progress.work.commits_below(self.worker.graph, stage),
            false => Commits::Done,
        }
    }

    /// After a panic nothing is started, because the next stage might read partial state.
    fn is_stopped(&self, progress: &Progress<E::Output, E::Error>) -> bool {
        match self.options.on_failure {
            OnFailure::Stop => !progress.report.failures.is_empty(),
            OnFailure::KeepGoing => progress.report.has_panicked(),
        }
    }

    fn settle(
        &self,
        stage: StageId,
        result: BuildResult<Completion<E::Output, E::Error>, E>,
        elapsed: Duration,
        committer: &mpsc::Sender<PendingCommit<E::Output, E::Error>>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        match result {
            Ok(Completion::Found(output)) => {
                progress.report.outputs.insert(stage, output);
                self.conclude(stage, State::Hit, Outcome::Hit, elapsed, progress);
            }
            Ok(Completion::Ran { same_output, nondeterministic, made }) => {
                let reason = made.reason.clone();
                progress.report.outputs.insert(stage, made.output.clone());
                committer.send(made).expect("the committer ends after the coordinator");
                let outcome = Outcome::Ran { reason, same_output, nondeterministic };
                self.conclude(stage, State::Made, outcome, elapsed, progress);
            }
            Err(error) => match self.remedy_for(stage, &error, progress) {
                Some(Remedy::Inputs) => self.reconsider(stage, progress),
                Some(Remedy::Description) => {
                    progress.repairs += 1;
                    progress.work.change(stage, State::Waiting);
                }
                None => self.fail(stage, error, elapsed, progress),
            },
        }
    }

    /// What to do about a stage that failed through no fault of its own.
    fn remedy_for(
        &self,
        stage: StageId,
        error: &BuildError<E::Error>,
        progress: &Progress<E::Output, E::Error>,
    ) -> Option<Remedy> {
        let BuildError::Stage { source, .. } = error else { return None };
        if progress.repairs >= MAX_REPAIRS {
            return None;
        }
        if self.worker.executor.lacks_input(source) {
            return Some(Remedy::Inputs);
        }
        self.worker.executor.is_outdated(stage, source).then_some(Remedy::Description)
    }

    /// A stage whose output could not be committed failed after all. Stages that use it already come to their end, and
    /// their results are recorded: they become hits once it is made again.
    fn settle_commit(
        &self,
        stage: StageId,
        result: BuildResult<(), E>,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        let inputs = self.worker.graph.inputs(stage);
        if result.is_err() || inputs.iter().any(|input| progress.lost.contains(input)) {
            progress.lost.insert(stage);
        } else {
            self.observer.event(Event::Committed { stage });
        }
        if let Err(error) = result {
            progress.report.outputs.remove(&stage);
            let reports = &mut progress.report.stages;
            let earlier = reports.iter().position(|report| report.stage == stage);
            let elapsed = earlier.map_or(Duration::ZERO, |place| reports.remove(place).elapsed);
            return self.fail(stage, error, elapsed, progress);
        }
        let next = match progress.work.state(stage) {
            State::Superseded => State::Waiting,
            _ => State::Committed,
        };
        progress.work.change(stage, next);
    }

    /// A stage could not be made.
    fn fail(
        &self,
        stage: StageId,
        error: BuildError<E::Error>,
        elapsed: Duration,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        let outcome = match &error {
            BuildError::Stage { source, .. } if self.worker.executor.is_interrupt(source) => {
                Outcome::Interrupted
            }
            _ => Outcome::Failed,
        };
        progress.report.failures.push((stage, error));
        self.conclude(stage, State::Failed, outcome, elapsed, progress);
    }

    /// Lets a stage and everything that it needs wait again, because something of what it needs is gone.
    fn reconsider(&self, stage: StageId, progress: &mut Progress<E::Output, E::Error>) {
        progress.repairs += 1;
        let mut again = self.worker.graph.needed_for(&[stage]);
        // Those that are not settled wait or run already, on account of another stage with the same trouble.
        again.retain(|input| progress.work.is_settled(*input));
        // What failed before is tried once more.
        progress.report.failures.retain(|(failed, _)| !again.contains(failed));
        for input in &again {
            progress.lost.remove(input);
            progress.report.outputs.remove(input);
            let next = match progress.work.state(*input) {
                State::Made => State::Superseded,
                _ => State::Waiting,
            };
            progress.work.change(*input, next);
        }
        let (reset, rest) = std::mem::take(&mut progress.report.stages)
            .into_iter()
            .partition::<Vec<_>, _>(|report| again.contains(&report.stage));
        progress.report.stages = rest;
        let ran = reset.into_iter().filter(|report| matches!(report.outcome, Outcome::Ran { .. }));
        progress.ran_before.extend(ran.map(|report| (report.stage, report)));
        self.observer.event(Event::Again { stage, stages: again.len() });
        progress.work.change(stage, State::Waiting);
    }

    /// The only place where a stage becomes settled.
    fn conclude(
        &self,
        stage: StageId,
        state: State<E::Output>,
        outcome: Outcome,
        elapsed: Duration,
        progress: &mut Progress<E::Output, E::Error>,
    ) {
        progress.work.change(stage, state);
        let report = StageReport { stage, outcome, elapsed };
        let failure = progress.report.failures.iter().rev().find(|(failed, _)| *failed == stage);
        let error = failure.map(|(_, error)| error as &(dyn std::error::Error + 'static));
        self.observer.event(Event::Finished { report: &report, error });
        // One that ran in this build and is found now has run in this build.
        let before = progress.ran_before.remove(&stage).filter(|_| report.outcome == Outcome::Hit);
        progress.report.stages.push(before.unwrap_or(report));
    }
}

/// What may help a stage that failed through no fault of its own.
enum Remedy {
    /// One of its inputs is damaged or gone: they are looked at again.
    Inputs,
    /// Something that its description covers is another by now: it is described again.
    Description,
}
