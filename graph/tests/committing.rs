//! What a stage made is committed while the next one runs, and remembered only when it is committed. With a fake executor, whose
//! commits do what each test says.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ibuild_cache::{ActionKey, Batch, MemoryIndex, Record, Store};
use ibuild_graph::{
    BuildReport, Description, Engine, EngineOptions, Event, Executor, GraphBuilder, Made, Observer,
    OnFailure, Outcome, RunMemory, StageGraph, StageId, StageName,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Text(String);

impl Record for Text {
    const SCHEMA: u16 = 1;
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

/// How the first stage is committed.
enum Commits {
    AtOnce,
    Fails,
    /// Not before the second stage runs.
    After(Receiver<()>),
}

struct Fake<'a> {
    graph: &'a StageGraph,
    ran: Mutex<Vec<String>>,
    first: Mutex<Option<Commits>>,
    second_runs: Sender<()>,
    second_needs: Needs,
}

/// What the second stage reads of the first one.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Output,
    Commit,
}

impl Executor for Fake<'_> {
    type Output = Text;
    type Error = Broken;

    fn describe(&self, stage: StageId, inputs: &[&Text]) -> Result<Description, Broken> {
        let mut description = Description::new("fake", 1);
        let inputs: Vec<_> = inputs.iter().map(|text| text.0.as_str()).collect();
        description.set("does", format!("{} {inputs:?}", self.graph.name(stage)));
        Ok(description)
    }

    fn needs_commits(&self, stage: StageId) -> bool {
        self.second_needs == Needs::Commit && self.graph.name(stage).as_str() == "second"
    }

    fn is_available(&self, _: StageId, _: &Text, _: &[&Text]) -> Result<bool, Broken> {
        Ok(true)
    }

    fn run(&self, stage: StageId, _: &[&Text]) -> Result<Made<Text, Broken>, Broken> {
        let name = self.graph.name(stage).to_string();
        self.ran.lock().unwrap().push(name.clone());
        let output = Text(name.clone());
        if name != "first" {
            let _ = self.second_runs.send(());
            return Ok(Made::whole(output));
        }
        let commits = self.first.lock().unwrap().take().expect("the first stage runs once");
        let commit = move || match commits {
            Commits::AtOnce => Ok(Batch::default()),
            Commits::Fails => Err(Broken("disk full")),
            Commits::After(second) => match second.recv_timeout(Duration::from_secs(60)) {
                Ok(()) => Ok(Batch::default()),
                Err(_) => Err(Broken("the second stage waited for the commit of the first")),
            },
        };
        Ok(Made { output, commit: Box::new(commit) })
    }

    fn lock(&self, _: StageId, _: &ActionKey) -> Result<Box<dyn Send>, Broken> {
        Ok(Box::new(()))
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: Event<'_>) {
        self.0.lock().unwrap().push(match event {
            Event::Committed { stage } => format!("committed {stage:?}"),
            Event::Finished { report, .. } if report.outcome == Outcome::Failed => "failed".to_owned(),
            Event::Finished { .. } => "finished".to_owned(),
            Event::Started { .. } => "started".to_owned(),
            Event::Again { .. } => "again".to_owned(),
        });
    }
}

struct Lab {
    _root: tempfile::TempDir,
    store: Store,
    graph: StageGraph,
    heard: Heard,
    second_needs: Needs,
    on_failure: OnFailure,
}

impl Lab {
    /// `first -> second`.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
        let mut builder = GraphBuilder::default();
        let first = builder.stage(StageName::new("first")).unwrap();
        let second = builder.stage(StageName::new("second")).unwrap();
        builder.input(second, first);
        Self {
            _root: root,
            store,
            graph: builder.finish().unwrap(),
            heard: Heard::default(),
            second_needs: Needs::Output,
            on_failure: OnFailure::Stop,
        }
    }

    fn id(&self, name: &str) -> StageId {
        self.graph.find(&StageName::new(name)).unwrap()
    }

    /// Builds the second stage, and tells what ran.
    fn build(&self, commits: impl FnOnce(Receiver<()>) -> Commits) -> (Vec<String>, BuildReport<Fake<'_>>) {
        let (sender, receiver) = channel();
        let first = Mutex::new(Some(commits(receiver)));
        let fake = Fake {
            graph: &self.graph,
            ran: Mutex::default(),
            first,
            second_runs: sender,
            second_needs: self.second_needs,
        };
        let memory = RunMemory::new(&self.store, "test");
        let options = EngineOptions { on_failure: self.on_failure, ..EngineOptions::default() };
        let engine = Engine::new(&self.graph, &memory, &fake, &self.heard, options);
        let report = engine.build(&[self.id("second")]).unwrap();
        (fake.ran.into_inner().unwrap(), report)
    }

    fn is_remembered(&self, name: &str) -> bool {
        let memory = RunMemory::new(&self.store, "test");
        memory.last_run(&StageName::new(name)).unwrap().is_some()
    }
}

#[test]
fn the_next_stage_does_not_wait_for_it_not_even_with_one_job() {
    let lab = Lab::new();
    let (ran, report) = lab.build(Commits::After);
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(ran, ["first", "second"]);
    assert!(lab.is_remembered("first") && lab.is_remembered("second"));
    let heard = lab.heard.0.lock().unwrap();
    assert_eq!(heard[..3], ["started", "finished", "started"]);
    // In the order in which they stand on each other.
    let committed: Vec<_> = heard.iter().filter(|said| said.starts_with("committed")).cloned().collect();
    assert_eq!(committed, ["first", "second"].map(|name| format!("committed {:?}", lab.id(name))));
}

#[test]
fn what_cannot_be_committed_has_failed_and_is_not_remembered() {
    let lab = Lab::new();
    let (_, report) = lab.build(|_| Commits::Fails);
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].0, lab.id("first"));
    let outcomes: BTreeSet<_> = report.stages.iter().map(|stage| stage.stage).collect();
    assert_eq!(outcomes.len(), report.stages.len(), "each stage is reported once");
    let first = report.stages.iter().find(|stage| stage.stage == lab.id("first"));
    assert_eq!(first.map(|stage| &stage.outcome), Some(&Outcome::Failed));
    assert!(!report.outputs.contains_key(&lab.id("first")));
    assert!(!lab.is_remembered("first"));
    let heard = std::mem::take(&mut *lab.heard.0.lock().unwrap());
    assert_eq!(heard.iter().filter(|said| *said == "failed").count(), 1);
    // The second stage may have run, but without what it stands on nobody would find it.
    assert!(!heard.iter().any(|said| said.starts_with("committed")), "{heard:?}");
    let (ran, report) = lab.build(|_| Commits::AtOnce);
    assert!(report.failures.is_empty() && ran.contains(&"first".to_owned()), "{ran:?}");
}

#[test]
fn a_stage_that_reads_commits_waits_for_them() {
    let lab = Lab { second_needs: Needs::Commit, ..Lab::new() };
    let (ran, report) = lab.build(|_| Commits::AtOnce);
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(ran, ["first", "second"]);
    let heard = lab.heard.0.lock().unwrap();
    let committed = format!("committed {:?}", lab.id("first"));
    assert_eq!(heard[..4], ["started", "finished", committed.as_str(), "started"]);
}

#[test]
fn a_stage_that_reads_a_commit_which_failed_is_not_tried() {
    let lab = Lab { second_needs: Needs::Commit, on_failure: OnFailure::KeepGoing, ..Lab::new() };
    let (ran, report) = lab.build(|_| Commits::Fails);
    assert_eq!(ran, ["first"]);
    let second = report.stages.iter().find(|stage| stage.stage == lab.id("second"));
    assert_eq!(second.map(|stage| &stage.outcome), Some(&Outcome::Skipped));
}
