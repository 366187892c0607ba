//! Asserts what ran, and why, with a fake executor: a stage's output is a text made of its script and its inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ibuild_cache::{ActionKey, MemoryIndex, Record, Store};
use ibuild_graph::{
    Build, Change, Description, DirtyReason, Engine, EngineOptions, Event, Executor, GraphBuilder, Made,
    Observer, OnFailure, Outcome, PlannedStage, RunMemory, StageGraph, StageId, StageName, Value, Verdict,
    plan,
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

/// What a stage of the fake build is: its script, its copied files, its variables.
#[derive(Debug, Clone, Default)]
struct FakeStage {
    script: String,
    files: BTreeMap<String, (u32, String)>,
    env: BTreeMap<String, String>,
}

struct Fake<'a> {
    names: &'a StageGraph,
    stages: BTreeMap<String, FakeStage>,
    ran: Mutex<Vec<String>>,
    missing: BTreeSet<String>,
    /// Outputs that are damaged, and whether that was noticed yet.
    damaged: Mutex<BTreeMap<String, bool>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Executor for Fake<'_> {
    type Output = Text;
    type Error = Broken;

    fn describe(&self, stage: StageId, inputs: &[&Text]) -> Result<Description, Broken> {
        let fake = &self.stages[self.names.name(stage).as_str()];
        let mut description = Description::new("fake", 1);
        let file = |(mode, text): &(u32, String)| {
            Value::map([("mode", Value::Number(i64::from(*mode))), ("content", text.as_str().into())])
        };
        description
            .set("script", fake.script.as_str())
            .set("files", Value::map(fake.files.iter().map(|(name, f)| (name.as_str(), file(f)))))
            .set("env", Value::map(fake.env.iter().map(|(name, v)| (name.as_str(), v.as_str().into()))))
            .set("inputs", Value::texts(inputs.iter().map(|text| text.0.as_str())));
        Ok(description)
    }

    fn is_available(&self, _: StageId, output: &Text, _: &[&Text]) -> Result<bool, Broken> {
        Ok(!self.missing.contains(&output.0) && self.damaged.lock().unwrap().get(&output.0) != Some(&true))
    }

    fn is_inherited(&self, change: &Change) -> bool {
        change.path[0] == "inputs"
    }

    /// A script's comment, from `#` on, makes no difference to what it makes.
    fn run(&self, stage: StageId, inputs: &[&Text]) -> Result<Made<Text, Broken>, Broken> {
        let name = self.names.name(stage).as_str();
        for input in inputs {
            if let Some(noticed) = self.damaged.lock().unwrap().get_mut(&input.0) {
                *noticed = true;
                return Err(Broken("damaged".to_owned()));
            }
        }
        self.ran.lock().unwrap().push(name.to_owned());
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let fake = &self.stages[name];
        if fake.script.contains("stop") {
            return Err(Broken("stopped".to_owned()));
        }
        if fake.script.contains("exit 1") {
            return Err(Broken(format!("{name} exits with status 1")));
        }
        let effect = fake.script.split('#').next().unwrap_or_default();
        let inputs: Vec<_> = inputs.iter().map(|text| text.0.as_str()).collect();
        let output = Text(format!("{}({effect}{:?}{:?})", inputs.join("+"), fake.files, fake.env));
        self.damaged.lock().unwrap().remove(&output.0);
        Ok(Made::whole(output))
    }

    fn lacks_input(&self, error: &Broken) -> bool {
        error.0 == "damaged"
    }

    fn is_interrupt(&self, error: &Broken) -> bool {
        error.0 == "stopped"
    }

    fn lock(&self, _: StageId, _: &ActionKey) -> Result<Box<dyn Send>, Broken> {
        Ok(Box::new(()))
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// A build described in one line: `"base -> desktop -> ova; base -> server"`.
struct FakeBuild {
    _root: tempfile::TempDir,
    store: Store,
    graph: StageGraph,
    stages: BTreeMap<String, FakeStage>,
    missing: BTreeSet<String>,
    damaged: BTreeSet<String>,
    options: EngineOptions,
}

struct Ran {
    names: Vec<String>,
    reasons: BTreeMap<String, DirtyReason>,
    outcomes: BTreeMap<String, Outcome>,
    most_at_once: usize,
}

impl FakeBuild {
    fn new(shape: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
        let mut builder = GraphBuilder::default();
        let mut ids: BTreeMap<String, StageId> = BTreeMap::new();
        let mut edges = BTreeSet::new();
        for chain in shape.split(';') {
            let names: Vec<_> = chain.split("->").map(str::trim).collect();
            for name in &names {
                let new = || builder.stage(StageName::new(*name)).unwrap();
                ids.entry((*name).to_owned()).or_insert_with(new);
            }
            for pair in names.windows(2) {
                if edges.insert((pair[0].to_owned(), pair[1].to_owned())) {
                    builder.input(ids[pair[1]], ids[pair[0]]);
                }
            }
        }
        let stage = |name: &String| FakeStage { script: format!("make {name}"), ..FakeStage::default() };
        let stages = ids.keys().map(|name| (name.clone(), stage(name))).collect();
        let graph = builder.finish().unwrap();
        let (missing, damaged, options) = (BTreeSet::new(), BTreeSet::new(), EngineOptions::default());
        Self { _root: root, store, graph, stages, missing, damaged, options }
    }

    fn edit(&mut self, stage: &str, edit: impl FnOnce(&mut FakeStage)) -> &mut Self {
        edit(self.stages.get_mut(stage).unwrap());
        self
    }

    fn script(&mut self, stage: &str, script: &str) -> &mut Self {
        self.edit(stage, |fake| script.clone_into(&mut fake.script))
    }

    fn id(&self, name: &str) -> StageId {
        self.graph.find(&StageName::new(name)).unwrap()
    }

    fn fake(&self) -> Fake<'_> {
        Fake {
            names: &self.graph,
            stages: self.stages.clone(),
            ran: Mutex::default(),
            missing: self.missing.clone(),
            damaged: Mutex::new(self.damaged.iter().map(|output| (output.clone(), false)).collect()),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }
    }

    fn run(&self, targets: &[&str]) -> Ran {
        let fake = self.fake();
        let memory = RunMemory::new(&self.store, "test");
        let engine = Engine::new(&self.graph, &memory, &fake, &Silent, self.options.clone());
        let targets: Vec<_> = targets.iter().map(|target| self.id(target)).collect();
        let report = engine.build(&targets).unwrap();
        let name = |stage: StageId| self.graph.name(stage).to_string();
        let mut reasons = BTreeMap::new();
        let mut outcomes = BTreeMap::new();
        for stage in report.stages {
            if let Outcome::Ran { reason, .. } = &stage.outcome {
                reasons.insert(name(stage.stage), reason.clone());
            }
            outcomes.insert(name(stage.stage), stage.outcome);
        }
        let most_at_once = fake.most_at_once.into_inner();
        Ran { names: fake.ran.into_inner().unwrap(), reasons, outcomes, most_at_once }
    }

    /// What a stage made the last time.
    fn output(&self, name: &str) -> String {
        let memory = RunMemory::new(&self.store, "test");
        let last = memory.last_run(&StageName::new(name)).unwrap().unwrap();
        memory.result(&last.key).unwrap().unwrap().output::<Text>().unwrap().0
    }

    /// One letter a stage: fresh, dirty, pending, or unlikely to run though it is pending.
    fn plan(&self, targets: &[&str]) -> String {
        let memory = RunMemory::new(&self.store, "test");
        let targets: Vec<_> = targets.iter().map(|target| self.id(target)).collect();
        let plan = plan(&self.graph, &memory, &self.fake(), &targets).unwrap();
        let letter = |planned: &PlannedStage| match &planned.verdict {
            Verdict::Fresh => 'f',
            Verdict::Dirty(_) => 'd',
            Verdict::Pending(_) if planned.likely => 'p',
            Verdict::Pending(_) => 'u',
        };
        plan.stages.iter().map(letter).collect()
    }
}

impl Ran {
    #[track_caller]
    fn assert_ran<const N: usize>(&self, expected: [&str; N]) -> &Self {
        assert_eq!(self.names, expected);
        self
    }

    #[track_caller]
    fn because(&self, stage: &str, reason: &str) -> &Self {
        assert_eq!(self.reasons[stage].to_string(), reason);
        self
    }
}

#[test]
fn nothing_the_second_time() {
    let build = FakeBuild::new("base -> tools -> ova");
    build.run(&["ova"]).assert_ran(["base", "tools", "ova"]).because("base", "never built");
    build.run(&["ova"]).assert_ran([]);
}

#[test]
fn only_what_follows_a_changed_script() {
    let mut build = FakeBuild::new("1 -> 2 -> 3 -> 4");
    build.run(&["4"]);
    build.script("3", "other");
    build.run(&["4"]).assert_ran(["3", "4"]).because("3", "script: `make 3` -> `other`");
    assert!(build.run(&["4"]).names.is_empty());
}

#[test]
fn an_edit_without_effect_runs_one_stage() {
    let mut build = FakeBuild::new("1 -> 2 -> 3 -> 4");
    build.run(&["4"]);
    build.script("2", "make 2# a comment");
    let ran = build.run(&["4"]);
    ran.assert_ran(["2"]);
    assert!(matches!(ran.outcomes["2"], Outcome::Ran { same_output: true, .. }));
    assert_eq!(ran.outcomes["3"], Outcome::Hit);
}

#[test]
fn going_back_is_a_hit() {
    let mut build = FakeBuild::new("1 -> 2");
    build.run(&["2"]);
    build.script("1", "other");
    build.run(&["2"]).assert_ran(["1", "2"]);
    build.script("1", "make 1");
    build.run(&["2"]).assert_ran([]);
    // The next change is explained against what was there last, not against what last ran.
    build.script("1", "third");
    build.run(&["2"]).because("1", "script: `make 1` -> `third`");
}

#[test]
fn copied_files_count_by_name_mode_and_content() {
    let mut build = FakeBuild::new("base -> files -> after");
    let file = |mode, text: &str| (mode, text.to_owned());
    build.edit("files", |fake| drop(fake.files.insert("etc/a".to_owned(), file(0o644, "a"))));
    build.run(&["after"]);
    build.edit("files", |fake| drop(fake.files.insert("etc/a".to_owned(), file(0o755, "a"))));
    build.run(&["after"]).assert_ran(["files", "after"]).because("files", "files etc/a mode: 420 -> 493");
    build.edit("files", |fake| {
        let moved = fake.files.remove("etc/a").unwrap();
        fake.files.insert("etc/b".to_owned(), moved);
    });
    let ran = build.run(&["after"]);
    ran.assert_ran(["files", "after"]);
    let DirtyReason::Changed(changes) = &ran.reasons["files"] else { panic!() };
    let paths: Vec<_> = changes.iter().map(|change| change.path.join("/")).collect();
    assert_eq!(paths, ["files/etc/a", "files/etc/b"]);
    build.edit("files", |fake| fake.files.clear());
    build.run(&["after"]).assert_ran(["files", "after"]);
}

#[test]
fn a_changed_variable_is_named() {
    let mut build = FakeBuild::new("1 -> 2");
    build.edit("1", |fake| drop(fake.env.insert("A".to_owned(), "1".to_owned())));
    build.run(&["2"]);
    build.edit("1", |fake| drop(fake.env.insert("A".to_owned(), "2".to_owned())));
    build.run(&["2"]).assert_ran(["1", "2"]).because("1", "env A: `1` -> `2`");
}

#[test]
fn what_turns_out_to_be_damaged_is_made_again_in_the_same_build() {
    let mut build = FakeBuild::new("base -> tools -> a -> a.ova; tools -> b -> b.ova; base -> other");
    build.options.jobs = 2;
    build.run(&["a.ova", "b.ova", "other"]);
    let output = build.output("tools");
    build.damaged.insert(output);
    build.script("a", "edited").script("b", "edited");
    let ran = build.run(&["a.ova", "b.ova", "other"]);
    let count = |name: &str| ran.names.iter().filter(|other| *other == name).count();
    assert_eq!((count("base"), count("tools"), count("a"), count("b")), (0, 1, 1, 1), "{:?}", ran.names);
    assert_eq!(ran.reasons["tools"], DirtyReason::OutputMissing);
    assert_eq!(ran.outcomes.len(), 7);
    assert!(ran.outcomes.values().all(|outcome| !matches!(outcome, Outcome::Failed | Outcome::Skipped)));
}

/// A regression: a stage that ran, and was found when something below it turned out to be damaged, was counted as found.
#[test]
fn what_ran_before_something_was_found_damaged_has_run() {
    let mut build = FakeBuild::new("base -> other -> all; base -> mine -> all");
    build.run(&["all"]);
    let output = build.output("other");
    build.damaged.insert(output);
    build.script("mine", "edited");
    let ran = build.run(&["all"]);
    ran.assert_ran(["mine", "other", "all"]);
    let has_run = |name: &str| matches!(ran.outcomes[name], Outcome::Ran { .. });
    assert_eq!(
        ["base", "other", "mine", "all"].map(has_run),
        [false, true, true, true],
        "{:?}",
        ran.outcomes
    );
}

#[test]
fn builds_are_remembered_once() {
    let mut build = FakeBuild::new("base -> a; base -> b");
    build.run(&["a"]);
    build.run(&["a"]);
    build.run(&["b", "a"]);
    build.script("a", "exit 1");
    build.run(&["a"]);
    let history = Build::all(&build.store).unwrap();
    let targets: Vec<_> = history.iter().map(|(number, build)| (*number, build.targets.join(" "))).collect();
    assert_eq!(targets, [(1, "a".to_owned()), (2, "a b".to_owned())]);
    let last = &history[1].1;
    let stages: Vec<_> = last.stages.iter().map(|stage| (stage.stage.as_str(), stage.ran)).collect();
    assert_eq!(stages, [("base", false), ("b", true), ("a", false)]);
    assert_eq!(last.stages[2].inputs, [0]);
    assert_eq!((last.project.as_str(), last.made.len()), ("test", 2));
}

#[test]
fn branches_share_their_prefix_and_run_together() {
    let mut build = FakeBuild::new("base -> gateway -> g.ova; base -> workstation -> w.ova");
    build.options.jobs = 2;
    let ran = build.run(&["g.ova", "w.ova"]);
    assert_eq!(ran.names.iter().filter(|name| *name == "base").count(), 1);
    assert_eq!(ran.names.len(), 5);
    assert_eq!(ran.most_at_once, 2);
    build.script("gateway", "other");
    build.run(&["g.ova", "w.ova"]).assert_ran(["gateway", "g.ova"]);
}

#[test]
fn only_what_the_target_needs() {
    let build = FakeBuild::new("base -> a; base -> b");
    build.run(&["a"]).assert_ran(["base", "a"]);
    build.run(&["b"]).assert_ran(["b"]);
}

#[test]
fn a_lost_result_is_made_again() {
    let mut build = FakeBuild::new("1 -> 2");
    build.run(&["2"]);
    build.missing.insert("(make 1{}{})".to_owned());
    build.run(&["2"]).assert_ran(["1"]).because("1", "its result is not in the store any more");
}

#[test]
fn a_failure_stops_and_the_next_build_resumes_there() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    build.script("2", "exit 1");
    let ran = build.run(&["3"]);
    ran.assert_ran(["1", "2"]);
    assert_eq!(ran.outcomes["2"], Outcome::Failed);
    assert_eq!(ran.outcomes["3"], Outcome::Skipped);
    build.script("2", "make 2");
    build.run(&["3"]).assert_ran(["2", "3"]);
}

#[test]
fn who_is_stopped_has_not_failed() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    build.script("2", "stop");
    let ran = build.run(&["3"]);
    assert_eq!(ran.outcomes["2"], Outcome::Interrupted);
    assert_eq!(ran.outcomes["3"], Outcome::Skipped);
}

#[test]
fn keep_going_builds_the_other_branch() {
    let mut build = FakeBuild::new("base -> bad -> x; base -> good -> better");
    build.script("bad", "exit 1");
    assert!(!build.run(&["x", "better"]).names.contains(&"better".to_owned()));
    build.options.on_failure = OnFailure::KeepGoing;
    let ran = build.run(&["x", "better"]);
    assert!(ran.names.contains(&"better".to_owned()));
    assert_eq!(ran.outcomes["x"], Outcome::Skipped);
}

#[test]
fn forced_stages_run_and_cut_off() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    build.run(&["3"]);
    build.options.forced = [build.id("2")].into();
    build.run(&["3"]).assert_ran(["2"]).because("2", "asked for");
}

#[test]
fn a_plan_says_what_a_build_will_do() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    assert_eq!(build.plan(&["3"]), "dpp");
    build.run(&["3"]);
    assert_eq!(build.plan(&["3"]), "fff");
    build.script("2", "other");
    assert_eq!(build.plan(&["3"]), "fdp");
    assert_eq!(build.run(&["3"]).names, ["2", "3"]);
}

/// The verdict on a stage and its reason.
fn verdict(build: &FakeBuild, targets: &[&str], stage: &str) -> Verdict {
    let memory = RunMemory::new(&build.store, "test");
    let targets: Vec<_> = targets.iter().map(|target| build.id(target)).collect();
    let plan = plan(&build.graph, &memory, &build.fake(), &targets).unwrap();
    plan.stages.iter().find(|planned| planned.stage == build.id(stage)).unwrap().verdict.clone()
}

#[test]
fn a_second_edit_is_a_cause_of_its_own() {
    let mut build = FakeBuild::new("1 -> 2 -> 3 -> 4");
    build.run(&["4"]);
    build.script("1", "other").script("3", "another");
    assert_eq!(build.plan(&["4"]), "dpdp");
    let Verdict::Dirty(reason) = verdict(&build, &["4"], "3") else { panic!("it has a cause of its own") };
    assert_eq!(reason.to_string(), "script: `make 3` -> `another`");
    build.run(&["4"]).assert_ran(["1", "2", "3", "4"]);
}

#[test]
fn an_edit_behind_a_new_stage_is_a_cause_of_its_own() {
    let build = FakeBuild::new("1 -> 2 -> 3");
    build.run(&["3"]);
    let mut longer = FakeBuild::new("1 -> new -> 2 -> 3");
    longer.store = build.store;
    assert_eq!(longer.plan(&["3"]), "fdpp");
    longer.script("3", "another");
    assert_eq!(longer.plan(&["3"]), "fdpd");
}

#[test]
fn what_was_like_this_before_may_be_found_again() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    build.run(&["3"]);
    build.script("3", "another");
    build.run(&["3"]);
    build.script("1", "make 1# a comment").script("3", "make 3");
    assert_eq!(build.plan(&["3"]), "dpp");
    build.run(&["3"]).assert_ran(["1"]);
}

#[test]
fn what_somebody_edited_is_the_first_reason() {
    let mut build = FakeBuild::new("1 -> 2");
    build.run(&["2"]);
    build.script("1", "other").script("2", "another");
    let ran = build.run(&["2"]);
    let DirtyReason::Changed(changes) = &ran.reasons["2"] else { panic!() };
    let fields: Vec<_> = changes.iter().map(|change| change.path[0].as_str()).collect();
    assert_eq!(fields, ["script", "inputs"]);
}

#[test]
fn what_made_the_same_the_last_time_is_expected_to_again() {
    let mut build = FakeBuild::new("1 -> 2 -> 3");
    build.run(&["3"]);
    build.script("1", "other");
    assert_eq!(build.plan(&["3"]), "dpp");
    build.run(&["3"]);
    build.script("1", "other# with a comment");
    build.run(&["3"]).assert_ran(["1"]);
    build.script("1", "other# with another comment");
    assert_eq!(build.plan(&["3"]), "duu");
    build.run(&["3"]).assert_ran(["1"]);
}
