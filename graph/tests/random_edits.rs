//! Random edits of random graphs: an incremental build has to give what a clean one gives, stage by stage.
//!
//! The executor is a fake: a stage's output is a function of its script and of its inputs' outputs that forgets some of both,
//! so that many edits make no difference and early cutoff is exercised all the time. A failure prints its seed; run it
//! again with `IBUILD_SEED=N`. `IBUILD_NIGHTLY=1` tries a hundred times as many.

#![expect(clippy::disallowed_methods, reason = "a test takes its seed from the environment")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use fastrand::Rng;
use ibuild_cache::{ActionKey, MemoryIndex, Record, Store};
use ibuild_graph::{
    Description, Engine, EngineOptions, Event, Executor, GraphBuilder, Made, Observer, RunMemory, StageGraph,
    StageId, StageName, Value, Verdict, plan,
};
use serde::{Deserialize, Serialize};

/// A digest of a tree, with so few values that stages often make the same by different ways; and the way, which no stage
/// sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    digest: u8,
    way: Vec<u8>,
}

impl Tree {
    /// What a stage adds to the way depends on the tree that it stands on and the one that it makes.
    fn upon(digest: u8, parent: Option<&Self>) -> Self {
        let (before, below) = parent.map_or((0, &[][..]), |parent| (parent.digest, &parent.way));
        Self { digest, way: below.iter().copied().chain([before ^ digest]).collect() }
    }
}

impl Record for Tree {
    const SCHEMA: u16 = 1;
}

#[derive(Debug, thiserror::Error)]
#[error("a fake does not fail")]
struct Never;

struct Fake<'a> {
    scripts: &'a BTreeMap<StageId, u32>,
    lost: &'a [u8],
    ran: Mutex<Vec<StageId>>,
}

impl Fake<'_> {
    /// What the stage makes: the low bits of its script are a comment, and odd scripts ignore their inputs.
    fn output(&self, stage: StageId, inputs: &[&Tree]) -> Tree {
        let effect = self.scripts[&stage] >> 2;
        let seen = if effect % 2 == 1 {
            0
        } else {
            inputs.iter().fold(7, |all, tree| all * 31 + u32::from(tree.digest))
        };
        let digest = ((effect.wrapping_mul(2_654_435_761) ^ seen.wrapping_mul(40_503)) >> 9) as u8 % 16;
        Tree::upon(digest, inputs.first().copied())
    }
}

impl Executor for Fake<'_> {
    type Output = Tree;
    type Error = Never;

    fn describe(&self, stage: StageId, inputs: &[&Tree]) -> Result<Description, Never> {
        let mut description = Description::new("fake", 1);
        description.set("script", i64::from(self.scripts[&stage]));
        description.set(
            "inputs",
            Value::List(inputs.iter().map(|tree| Value::Number(tree.digest.into())).collect()),
        );
        Ok(description)
    }

    fn is_same(&self, old: &Tree, new: &Tree) -> bool {
        old.digest == new.digest
    }

    fn rebase(&self, _: StageId, remembered: Tree, inputs: &[&Tree]) -> Tree {
        Tree::upon(remembered.digest, inputs.first().copied())
    }

    fn is_available(&self, _: StageId, output: &Tree, _: &[&Tree]) -> Result<bool, Never> {
        Ok(!self.lost.contains(&output.digest))
    }

    fn run(&self, stage: StageId, inputs: &[&Tree]) -> Result<Made<Tree, Never>, Never> {
        self.ran.lock().unwrap().push(stage);
        Ok(Made::whole(self.output(stage, inputs)))
    }

    fn lock(&self, _: StageId, _: &ActionKey) -> Result<Box<dyn Send>, Never> {
        Ok(Box::new(()))
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

fn random_graph(rng: &mut Rng) -> (StageGraph, Vec<StageId>) {
    let mut builder = GraphBuilder::default();
    let mut stages: Vec<StageId> = Vec::new();
    for number in 0..rng.usize(2..12) {
        let stage = builder.stage(StageName::new(format!("s{number}"))).unwrap();
        for _ in 0..rng.usize(0..3).min(stages.len()) {
            builder.input(stage, stages[rng.usize(0..stages.len())]);
        }
        stages.push(stage);
    }
    (builder.finish().unwrap(), stages)
}

fn build(
    graph: &StageGraph,
    store: &Store,
    fake: &Fake<'_>,
    rng: &mut Rng,
    targets: &[StageId],
) -> BTreeMap<StageId, Tree> {
    let memory = RunMemory::new(store, "test");
    let options = EngineOptions { jobs: rng.usize(1..4), ..EngineOptions::default() };
    let report = Engine::new(graph, &memory, fake, &Silent, options).build(targets).unwrap();
    assert!(report.failures.is_empty());
    report.outputs
}

/// A store that knows nothing. Its directory stays empty, so all may share one.
fn fresh_store(root: &Path) -> Store {
    Store::open(root, |_| MemoryIndex::default()).unwrap()
}

/// One graph, some edits; after each, the incremental build against a clean one.
fn try_sequence(root: &Path, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (graph, stages) = random_graph(&mut rng);
    let mut scripts: BTreeMap<_, _> = stages.iter().map(|stage| (*stage, rng.u32(0..64))).collect();
    let store = fresh_store(root);
    for edit in 0..rng.usize(3..10) {
        let targets: Vec<_> = stages.iter().copied().filter(|_| rng.u8(0..3) == 0).collect();
        let lost: Vec<_> = (0..rng.u8(0..2)).map(|_| rng.u8(0..16)).collect();
        let fake = Fake { scripts: &scripts, lost: &lost, ran: Mutex::default() };
        let planned = plan(&graph, &RunMemory::new(&store, "test"), &fake, &targets).unwrap();
        let incremental = build(&graph, &store, &fake, &mut rng, &targets);
        check_plan(&planned.stages, &fake.ran.into_inner().unwrap(), seed);
        let empty = fresh_store(root);
        let clean = Fake { scripts: &scripts, lost: &[], ran: Mutex::default() };
        let clean = build(&graph, &empty, &clean, &mut rng, &targets);
        assert_eq!(incremental, clean, "IBUILD_SEED={seed}, edit {edit}");
        *scripts.get_mut(&stages[rng.usize(0..stages.len())]).unwrap() = rng.u32(0..64);
    }
}

/// What is planned as dirty runs, what is planned as fresh does not; what is pending may do either.
fn check_plan(planned: &[ibuild_graph::PlannedStage], ran: &[StageId], seed: u64) {
    for planned in planned {
        match planned.verdict {
            Verdict::Fresh => assert!(!ran.contains(&planned.stage), "IBUILD_SEED={seed}: a fresh stage ran"),
            // Two stages may be the same action: then one runs and the other finds its result.
            Verdict::Dirty(_) | Verdict::Pending(_) => {}
        }
    }
}

#[test]
fn incremental_builds_equal_clean_ones() {
    let root = tempfile::tempdir().unwrap();
    if let Ok(seed) = std::env::var("IBUILD_SEED") {
        return try_sequence(root.path(), seed.parse().expect("a number"));
    }
    let sequences = if std::env::var_os("IBUILD_NIGHTLY").is_some() { 50_000 } else { 500 };
    (0..sequences).for_each(|seed| try_sequence(root.path(), seed));
}
