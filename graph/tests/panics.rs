//! A panic of what makes a stage ends the build with an error that names the stage, whatever thread it came up on, and
//! leaves behind what was sound before.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibuild_cache::{ActionKey, Batch, MemoryIndex, Record, Store};
use ibuild_graph::{
    BuildError, Description, Engine, EngineOptions, Event, Executor, GraphBuilder, Made, Observer, OnFailure,
    Outcome, RunMemory, StageGraph, StageId, StageName,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl Record for Text {
    const SCHEMA: u16 = 1;
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

/// Where the fake executor panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Describe,
    Available,
    Run,
    RunOnAnotherThread,
    Commit,
    Nowhere,
}

struct Fake<'a> {
    graph: &'a StageGraph,
    /// The stage that panics.
    bad: &'static str,
    at: At,
    /// Held while panicking, and taken by every stage: what a cache of an executor would be.
    shared: &'a Mutex<Vec<String>>,
}

impl Fake<'_> {
    fn panics(&self, stage: StageId, at: At) -> bool {
        self.graph.name(stage).as_str() == self.bad && self.at == at
    }
}

impl Executor for Fake<'_> {
    type Output = Text;
    type Error = Broken;

    fn describe(&self, stage: StageId, inputs: &[&Text]) -> Result<Description, Broken> {
        assert!(!self.panics(stage, At::Describe), "nothing describes {}", self.bad);
        let mut description = Description::new("fake", 1);
        let inputs: Vec<_> = inputs.iter().map(|text| text.0.as_str()).collect();
        description.set("does", format!("{} {inputs:?}", self.graph.name(stage)));
        Ok(description)
    }

    fn is_available(&self, _: StageId, output: &Text, _: &[&Text]) -> Result<bool, Broken> {
        assert!(self.at != At::Available || output.0 != self.bad, "nothing finds {}", self.bad);
        Ok(true)
    }

    fn run(&self, stage: StageId, _: &[&Text]) -> Result<Made<Text, Broken>, Broken> {
        let name = self.graph.name(stage).to_string();
        let mut ran = self.shared.lock().expect("no panic while held");
        ran.push(name.clone());
        assert!(!self.panics(stage, At::Run), "nothing makes {name}");
        if self.panics(stage, At::RunOnAnotherThread) {
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| panic!("nothing helps {name}"));
                helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            });
        }
        let (panics, output) = (self.panics(stage, At::Commit), Text(name.clone()));
        let commit = move || {
            assert!(!panics, "nothing commits {name}");
            Ok(Batch::default())
        };
        Ok(Made { output, commit: Box::new(commit) })
    }

    fn lock(&self, _: StageId, _: &ActionKey) -> Result<Box<dyn Send>, Broken> {
        Ok(Box::new(()))
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// What came of a build.
#[derive(Debug)]
struct Came {
    failures: Vec<BuildError<Broken>>,
    outcomes: Vec<(String, Outcome)>,
}

impl Came {
    fn outcome(&self, name: &str) -> &Outcome {
        &self.outcomes.iter().find(|(stage, _)| stage == name).unwrap().1
    }

    /// The only failure is a panic of this stage.
    #[track_caller]
    fn assert_panic(&self, stage: &str, text: &str) {
        let [BuildError::Panicked { stage: panicked, text: said }] = &self.failures[..] else {
            panic!("{:?}", self.failures)
        };
        assert_eq!((panicked.as_str(), said.as_str()), (stage, text));
        assert_eq!(*self.outcome(stage), Outcome::Failed);
    }
}

struct Lab {
    _root: tempfile::TempDir,
    store: Arc<Store>,
    graph: Arc<StageGraph>,
    options: EngineOptions,
}

impl Lab {
    /// `base -> bad -> after; base -> good -> better`.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(root.path(), |_| MemoryIndex::default()).unwrap());
        let mut builder = GraphBuilder::default();
        let [base, bad, after, good, better] = ["base", "bad", "after", "good", "better"]
            .map(|name| builder.stage(StageName::new(name)).unwrap());
        for (stage, input) in [(bad, base), (after, bad), (good, base), (better, good)] {
            builder.input(stage, input);
        }
        let graph = Arc::new(builder.finish().unwrap());
        Self { _root: root, store, graph, options: EngineOptions::default() }
    }

    /// Builds all, on a thread that is not waited for longer than any build would take.
    fn build(&self, at: At) -> Came {
        let (sender, receiver) = channel();
        let (graph, store, options) = (self.graph.clone(), self.store.clone(), self.options.clone());
        std::thread::spawn(move || sender.send(build(&graph, &store, options, at)));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the build comes to an end")
    }

    fn is_remembered(&self, name: &str) -> bool {
        let memory = RunMemory::new(&self.store, "test");
        memory.last_run(&StageName::new(name)).unwrap().is_some()
    }

    /// Without the mistake everything is built, and what was made before it is still there.
    #[track_caller]
    fn assert_sound(&self) {
        let came = self.build(At::Nowhere);
        assert!(came.failures.is_empty(), "{:?}", came.failures);
        assert_eq!(*came.outcome("base"), Outcome::Hit);
        assert!(self.is_remembered("after"));
    }
}

fn build(graph: &StageGraph, store: &Store, options: EngineOptions, at: At) -> Came {
    let (memory, shared) = (RunMemory::new(store, "test"), Mutex::default());
    let fake = Fake { graph, bad: "bad", at, shared: &shared };
    let engine = Engine::new(graph, &memory, &fake, &Silent, options);
    let targets = ["after", "better"].map(|name| graph.find(&StageName::new(name)).unwrap());
    let report = engine.build(&targets).unwrap();
    let named = report.stages.into_iter().map(|s| (graph.name(s.stage).to_string(), s.outcome));
    Came {
        outcomes: named.collect(),
        failures: report.failures.into_iter().map(|(_, error)| error).collect(),
    }
}

#[test]
fn of_describe() {
    let lab = Lab::new();
    let came = lab.build(At::Describe);
    came.assert_panic("bad", "nothing describes bad");
    assert_eq!(*came.outcome("after"), Outcome::Skipped);
    assert!(!lab.is_remembered("bad"));
    lab.assert_sound();
}

#[test]
fn of_a_look_into_the_store() {
    let lab = Lab::new();
    assert!(lab.build(At::Nowhere).failures.is_empty());
    lab.build(At::Available).assert_panic("bad", "nothing finds bad");
    lab.assert_sound();
}

#[test]
fn of_run() {
    let lab = Lab::new();
    let came = lab.build(At::Run);
    came.assert_panic("bad", "nothing makes bad");
    assert_eq!((came.outcome("after"), came.outcome("better")), (&Outcome::Skipped, &Outcome::Skipped));
    assert!(lab.is_remembered("base") && !lab.is_remembered("bad"));
    lab.assert_sound();
}

#[test]
fn of_a_thread_that_run_waits_for() {
    let lab = Lab::new();
    lab.build(At::RunOnAnotherThread).assert_panic("bad", "nothing helps bad");
    lab.assert_sound();
}

#[test]
fn of_a_commit() {
    let lab = Lab::new();
    let came = lab.build(At::Commit);
    came.assert_panic("bad", "nothing commits bad");
    assert!(lab.is_remembered("base") && !lab.is_remembered("bad"));
    lab.assert_sound();
}

#[test]
fn nothing_is_started_after_it_even_if_failures_do_not_stop_a_build() {
    let mut lab = Lab::new();
    lab.options.on_failure = OnFailure::KeepGoing;
    let came = lab.build(At::Run);
    came.assert_panic("bad", "nothing makes bad");
    assert_eq!(*came.outcome("better"), Outcome::Skipped);
    lab.assert_sound();
}

#[test]
fn what_runs_beside_it_ends_although_a_lock_is_poisoned() {
    let mut lab = Lab::new();
    lab.options.jobs = 4;
    let came = lab.build(At::Run);
    assert!(came.failures.iter().all(BuildError::is_panic), "{:?}", came.failures);
    assert_eq!(*came.outcome("bad"), Outcome::Failed);
    lab.assert_sound();
}
