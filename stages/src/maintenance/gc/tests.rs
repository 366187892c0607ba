//! Plans over stores that exist only as data, made by hand and by chance, and one that is applied.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use ibuild_cache::{ActionKey, Batch, BlobId, LayerId, MemoryIndex, Record, Sha256, Store, Table, TreeId};
use ibuild_graph::{Description, DirtyReason, FinishedRun, Pin, RunMemory, StageName};

use super::*;
use crate::packages_used::package_usage::{self, PackageUsage};
use crate::snapshot::{Layer, LayerStore, Snapshot};
use crate::{Artifact, StageOutput};

fn key(number: u8) -> ActionKey {
    ActionKey::from_bytes([number; 32])
}

fn blob(number: u8) -> BlobId {
    BlobId::from_bytes([number; 32])
}

/// The tree of files that an action read.
fn inputs(number: u8) -> TreeId {
    TreeId::from_bytes([number, 1].repeat(16).try_into().unwrap())
}

fn layer(number: u8) -> LayerId {
    LayerId::from_bytes([number; 32])
}

/// A store in which the layer, the tarball and the directory of an action have its number.
#[derive(Default)]
struct Lab {
    inventory: Inventory,
}

impl Lab {
    /// An action that stands on others and took so many milliseconds, with a layer of so many bytes.
    fn step(&mut self, number: u8, below: Option<u8>, millis: u64, bytes: u64) -> &mut Self {
        let mut layers =
            below.map_or_else(Vec::new, |below| self.inventory.results[&key(below)].layers.clone());
        if bytes > 0 {
            layers.push(layer(number));
            self.inventory.layers.insert(layer(number), HeldLayer { blob: blob(number) });
            self.blob(number, bytes);
            let unpacked = HeldUnpacked { bytes: bytes * 2, used: u64::from(number) };
            self.inventory.unpacked.insert(Inventory::directory_of(&layer(number)), unpacked);
            self.inventory.total += bytes * 2;
        }
        let tree = Some(TreeId::from_bytes([number; 32]));
        self.inventory.trees.insert(TreeId::from_bytes([number; 32]), Vec::new());
        self.result(number, below, HeldResult { millis, layers, tree, files: Vec::new() })
    }

    fn image(&mut self, number: u8, below: u8, millis: u64, bytes: u64) -> &mut Self {
        self.blob(number, bytes);
        self.result(
            number,
            Some(below),
            HeldResult { millis, files: vec![blob(number)], ..HeldResult::default() },
        )
    }

    /// An image of which `pack` is a part.
    fn composed(&mut self, number: u8, below: u8, pack: u8, bytes: u64) -> &mut Self {
        self.image(number, below, 100, bytes);
        let result = self.inventory.results.get_mut(&key(number)).expect("it was just put there");
        result.files.push(blob(pack));
        self
    }

    fn spare(&mut self, name: &str, bytes: u64, age: u64) {
        self.inventory.spares.push(HeldSpare { path: name.into(), bytes, age });
        self.inventory.total += bytes;
    }

    fn blob(&mut self, number: u8, bytes: u64) {
        self.inventory.blobs.insert(blob(number), bytes);
        self.inventory.total += bytes;
    }

    fn result(&mut self, number: u8, below: Option<u8>, result: HeldResult) -> &mut Self {
        self.inventory.results.insert(key(number), result);
        self.inventory.needs.entry(key(number)).or_default().extend(below.map(key));
        let inputs = vec![inputs(number)];
        self.inventory.trees.insert(inputs[0], Vec::new());
        let (project, stage) = ("lab".to_owned(), StageName::new("x"));
        let last = LastRunRow { project, stage, key: key(number), inputs };
        self.inventory.last_runs.push(last);
        self
    }

    fn built(&mut self, target: &str, keys: &[u8]) -> &mut Self {
        let number = self.inventory.roots.len() as u64 + 1;
        let keys = keys.iter().map(|number| key(*number)).collect();
        let (project, targets) = ("lab".to_owned(), vec![target.to_owned()]);
        self.inventory.roots.push(Root::Build { project, targets, number, keys });
        self
    }

    fn package(&mut self, number: u8, bytes: u64) {
        let digest = Sha256::from_bytes([number; 32]);
        self.inventory.packages.push(HeldPackage { digest, bytes, time: u64::from(number) });
        self.inventory.total += bytes;
    }

    fn plan(&self, keep: usize, budget: Option<u64>) -> GcPlan {
        plan(&self.inventory, &Policy { keep, budget, packages: Packages::Keep })
    }

    /// The numbers of the actions whose results go.
    fn gone(&self, keep: usize, budget: Option<u64>) -> Vec<u8> {
        results(&self.plan(keep, budget)).iter().map(|key| key.as_bytes()[0]).collect()
    }
}

fn results(plan: &GcPlan) -> BTreeSet<ActionKey> {
    let result = |removal: &Removal| match removal.thing {
        Thing::Result(key) => Some(key),
        _ => None,
    };
    plan.removals.iter().filter_map(result).collect()
}

fn has(plan: &GcPlan, thing: &Thing) -> bool {
    plan.removals.iter().any(|removal| removal.thing == *thing)
}

#[test]
fn a_part_of_several_images_stays_for_the_last_of_them() {
    let mut lab = Lab::default();
    lab.step(1, None, 1000, 10);
    lab.blob(9, 5000);
    lab.composed(2, 1, 9, 20).composed(3, 1, 9, 30);
    lab.built("x.ova", &[1, 2]).built("x.ova", &[1, 3]);
    let plan = lab.plan(1, None);
    assert!(has(&plan, &Thing::Artifact(blob(2))) && !has(&plan, &Thing::Artifact(blob(9))));
    let mut alone = Lab::default();
    alone.step(1, None, 1000, 10);
    alone.blob(9, 5000);
    alone.composed(2, 1, 9, 20);
    assert!(has(&alone.plan(1, None), &Thing::Artifact(blob(9))), "nobody needs it");
}

#[test]
fn spare_files_go_before_anything_that_takes_work() {
    let mut lab = Lab::default();
    lab.step(1, None, 1000, 10).image(2, 1, 100, 50).built("x.ova", &[1, 2]);
    lab.spare("old", 300, 8 * 24 * 60 * 60);
    lab.spare("young", 400, 60);
    let has = |plan: &GcPlan, name: &str| has(plan, &Thing::PreviousOutput(name.into()));
    let plan = lab.plan(1, None);
    assert!(has(&plan, "old") && !has(&plan, "young"));
    let plan = lab.plan(1, Some(100));
    assert!(has(&plan, "young"));
    assert_eq!((results(&plan), plan.after), (BTreeSet::new(), 80));
}

#[test]
fn the_last_builds_of_each_target_stay() {
    let mut lab = Lab::default();
    for number in 1..=5 {
        lab.step(number, None, 10, 100).built("x.ova", &[number]);
    }
    lab.step(9, None, 10, 100).built("y.ova", &[9]);
    assert_eq!(lab.gone(3, None), [1, 2]);
    assert_eq!(lab.gone(1, None), [1, 2, 3, 4]);
    // The same once more is no further build.
    lab.built("x.ova", &[5]).built("x.ova", &[5]);
    assert_eq!(lab.gone(2, None), [1, 2, 3]);
    let plan = lab.plan(1, None);
    assert_eq!((plan.before, plan.after), (6 * 300, 2 * 300));
    assert_eq!(plan.millis(), 40);
    for thing in [Thing::Tarball(blob(1)), Thing::Layer(layer(1)), Thing::Tree(TreeId::from_bytes([1; 32]))] {
        assert!(has(&plan, &thing), "{thing:?} stays");
    }
    assert!(has(&plan, &Thing::Unpacked(Inventory::directory_of(&layer(1)))));
}

#[test]
fn what_a_last_run_read_stays_with_it() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).step(2, None, 10, 100).built("a", &[2]);
    let plan = lab.plan(1, None);
    assert!(has(&plan, &Thing::Tree(inputs(1))));
    assert!(!has(&plan, &Thing::Tree(inputs(2))));
}

#[test]
fn what_a_kept_result_stands_on_stays() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).step(2, Some(1), 10, 100).step(3, Some(1), 10, 100).image(4, 2, 10, 500);
    lab.built("x.ova", &[4]);
    assert_eq!(lab.gone(3, None), [3]);
    lab.inventory.needs.clear();
    lab.built("x/2", &[2]);
    // Layers tell of snapshots what no build tells.
    assert_eq!(lab.gone(3, None), [3]);
}

#[test]
fn pins_and_work_stay() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).step(2, Some(1), 10, 100).step(3, Some(2), 10, 100).step(4, None, 10, 100);
    lab.inventory.roots = vec![Root::Pin(key(2)), Root::InWork(key(4))];
    assert_eq!(lab.gone(3, None), [3]);
    // A budget takes work, but no pin.
    assert_eq!(lab.gone(3, Some(0)), [3, 4]);
    let plan = lab.plan(3, Some(0));
    assert_eq!(plan.after, 200);
    assert_eq!(plan.shortfall, Some(Shortfall { over: 200, packages: 0, pinned: 200 }));
}

#[test]
fn a_budget_takes_directories_first_and_the_longest_unused_of_them() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).step(2, Some(1), 10, 100).step(3, Some(2), 10, 100);
    lab.built("x", &[3]);
    let plan = lab.plan(3, Some(600));
    let names = [1, 2].map(|number| Thing::Unpacked(Inventory::directory_of(&layer(number))));
    let things: Vec<_> = plan.removals.iter().map(|removal| removal.thing.clone()).collect();
    assert_eq!(things, names);
    assert!(plan.removals.iter().all(|removal| removal.why == Why::Cache && removal.millis == 0));
    assert_eq!((plan.after, plan.shortfall), (500, None));
}

#[test]
fn a_budget_takes_what_is_cheap_to_make_for_its_size() {
    let mut lab = Lab::default();
    lab.step(1, None, 1000, 100).step(2, Some(1), 9000, 100).image(3, 2, 1000, 500);
    lab.step(4, Some(1), 10, 100).built("x", &[3, 4]);
    assert!(lab.gone(3, Some(800)).is_empty());
    assert_eq!(lab.gone(3, Some(799)), [4]);
    assert_eq!(lab.gone(3, Some(700)), [4]);
    assert_eq!(lab.gone(3, Some(699)), [3, 4]);
    assert_eq!(lab.gone(3, Some(150)), [2, 3, 4]);
    assert_eq!(lab.gone(3, Some(0)), [1, 2, 3, 4]);
}

#[test]
fn a_result_that_frees_nothing_goes_with_what_it_stands_on() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).step(2, Some(1), 10, 100).step(3, Some(2), 500, 0).step(4, Some(3), 500, 0);
    lab.built("x", &[4]);
    assert_eq!(lab.gone(3, Some(150)), [2, 3, 4]);
}

#[test]
fn packages_go_only_if_they_may() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100).built("x", &[1]);
    (1..=3).for_each(|number| lab.package(number, 1000));
    let plan = lab.plan(3, Some(1500));
    assert_eq!(plan.shortfall, Some(Shortfall { over: 1500, packages: 3000, pinned: 0 }));
    let policy = Policy { keep: 3, budget: Some(1500), packages: Packages::Evict };
    let plan = super::plan(&lab.inventory, &policy);
    let gone: Vec<_> = [1, 2].map(|number| Thing::Package(Sha256::from_bytes([number; 32]))).into();
    assert!(gone.iter().all(|thing| has(&plan, thing)) && plan.shortfall.is_none());
    assert_eq!(plan.after, 1000);
}

#[test]
fn failures_keep_their_layers_as_long_as_they_are_young() {
    let mut lab = Lab::default();
    lab.step(1, None, 10, 100);
    let failed = |age| HeldPath {
        path: "failed/lab/x".into(),
        project: "lab".to_owned(),
        stage: "x".to_owned(),
        bytes: 50,
        age,
        layers: vec![layer(1)],
    };
    lab.inventory.total += 50;
    lab.inventory.failed = vec![failed(60)];
    let plan = lab.plan(3, None);
    assert!(!has(&plan, &Thing::Tarball(blob(1))) && !has(&plan, &Thing::Failed("failed/lab/x".into())));
    assert_eq!(lab.plan(3, Some(100)).after, 0);
    lab.inventory.failed = vec![failed(30 * 24 * 60 * 60)];
    assert_eq!(lab.plan(3, None).after, 0);
}

/// A store by chance: rootfses that branch, images, builds of them, pins, garbage.
fn random_lab(rng: &mut Rng) -> Lab {
    let mut lab = Lab::default();
    let count = rng.u8(1..40);
    let mut steps = Vec::new();
    for number in 1..=count {
        let below = if steps.is_empty() || rng.u8(..5) == 0 { None } else { rng.choice(&steps).copied() };
        let bytes = if rng.u8(..4) == 0 { 0 } else { rng.u64(1..1000) };
        match below {
            Some(below) if rng.u8(..4) == 0 => {
                lab.image(number, below, rng.u64(..5000), rng.u64(1..2000));
            }
            below => {
                lab.step(number, below, rng.u64(..5000), bytes);
                steps.push(number);
            }
        }
    }
    for _ in 0..rng.usize(..8) {
        let all = lab.chain(rng.u8(1..=count));
        lab.built(["a", "b"][rng.usize(..2)], &all);
    }
    for _ in 0..rng.usize(..3) {
        lab.inventory.roots.push(Root::Pin(key(rng.u8(1..=count))));
    }
    (0..rng.u8(..4)).for_each(|number| lab.package(number, rng.u64(..500)));
    lab.blob(200, rng.u64(..300));
    lab
}

impl Lab {
    /// An action, and all that it was made of.
    fn chain(&self, number: u8) -> Vec<u8> {
        let mut chain = vec![number];
        while let Some(below) = self.inventory.needs[&key(chain[chain.len() - 1])].first() {
            chain.push(below.as_bytes()[0]);
        }
        chain
    }

    /// What has to hold of every plan.
    fn check(&self, plan: &GcPlan, policy: &Policy) {
        let gone = results(plan);
        let stay: BTreeSet<_> = self.inventory.results.keys().filter(|key| !gone.contains(key)).collect();
        for key in &stay {
            self.check_is_complete(key, plan);
            let needs = &self.inventory.needs[key];
            assert!(needs.is_disjoint(&gone), "{key:?} stays without what it stands on");
        }
        for root in &self.inventory.roots {
            if let Root::Pin(pin) = root {
                assert!(stay.contains(pin), "the pin of {pin:?} does not hold");
            }
        }
        if policy.budget.is_none() {
            assert!(plan.removals.iter().all(|removal| removal.why != Why::Budget));
        }
        let freed: u64 = plan.removals.iter().map(|removal| removal.bytes).sum();
        assert_eq!(plan.after, plan.before - freed);
        let mut seen = Vec::new();
        for removal in &plan.removals {
            assert!(!seen.contains(&&removal.thing), "{:?} goes twice", removal.thing);
            seen.push(&removal.thing);
        }
        match policy.budget {
            Some(budget) if plan.after > budget => assert!(plan.shortfall.is_some()),
            _ => assert_eq!(plan.shortfall, None),
        }
    }

    fn check_is_complete(&self, key: &ActionKey, plan: &GcPlan) {
        let result = &self.inventory.results[key];
        for layer in &result.layers {
            let tarball = self.inventory.layers[layer].blob;
            assert!(!has(plan, &Thing::Layer(*layer)) && !has(plan, &Thing::Tarball(tarball)), "{key:?}");
        }
        assert!(!result.files.iter().any(|blob| has(plan, &Thing::Artifact(*blob))), "{key:?}");
        assert!(result.tree.is_none_or(|tree| !has(plan, &Thing::Tree(tree))), "{key:?}");
    }
}

#[test]
fn whatever_is_in_a_store_what_stays_is_whole_and_the_budget_is_met() {
    for seed in 0..600 {
        let mut rng = Rng::with_seed(seed);
        let lab = random_lab(&mut rng);
        let budget = (rng.u8(..3) > 0).then(|| rng.u64(..=lab.inventory.total));
        let packages = if rng.bool() { Packages::Keep } else { Packages::Evict };
        let policy = Policy { keep: rng.usize(1..4), budget, packages };
        let plan = plan(&lab.inventory, &policy);
        lab.check(&plan, &policy);
        if let Some(shortfall) = plan.shortfall {
            // Nothing is left that may go: the rest is pinned, or is packages that are to stay.
            assert_eq!(plan.after, shortfall.pinned + shortfall.packages);
        }
    }
}

fn remember(store: &Store, stage: &str, output: &StageOutput, facts: Batch) -> ActionKey {
    let mut description = Description::new("run", 1);
    description.set("command", stage);
    let memory = RunMemory::new(store, "lab");
    memory
        .remember_run(
            &StageName::new(stage),
            FinishedRun {
                description: &description,
                facts,
                reason: DirtyReason::NeverBuilt.into(),
                millis: 5,
            },
            output,
        )
        .unwrap();
    description.key()
}

fn snapshot(store: &Store, stage: &str, below: &[LayerId], number: u8) -> (ActionKey, Vec<LayerId>) {
    let stored = store.blobs().put(&[number; 3000]).unwrap();
    let made =
        Layer { id: layer(number), blob: stored.digest, raw_size: 1, blob_size: stored.size, changes: 1 };
    let mut facts = Batch::default();
    facts.put(Table::Layers, made.id.as_bytes(), made.to_bytes());
    std::fs::create_dir(LayerStore::new(store).unpacked_path(&made.id)).unwrap();
    let layers = [below, &[made.id]].concat();
    let output = Snapshot::of(TreeId::from_bytes([number; 32]), layers.clone());
    (remember(store, stage, &StageOutput::Snapshot(output), facts), layers)
}

#[test]
fn a_plan_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let (low, layers) = snapshot(&store, "x/low", &[], 1);
    let (high, _) = snapshot(&store, "x/high", &layers, 2);
    let stored = store.blobs().put(b"image").unwrap();
    let artifact = Artifact { blob: stored.digest, size: stored.size };
    remember(&store, "x.ova", &StageOutput::Artifact(artifact), Batch::default());
    std::fs::create_dir(store.layout().layers().join("nobody-knows")).unwrap();
    let policy = |budget| Policy { keep: 3, budget, packages: Packages::Keep };
    // No build was finished yet: everything is in work.
    let plan_with = |budget| plan(&Inventory::of(&store).unwrap(), &policy(budget));
    assert_eq!(results(&plan_with(None)), BTreeSet::new());
    Pin { project: "lab".to_owned(), stage: StageName::new("x/low"), key: low }.set(&store).unwrap();
    apply(&store, &plan_with(Some(0))).unwrap();
    let left: BTreeMap<_, _> = Inventory::of(&store).unwrap().results;
    assert_eq!(left.into_keys().collect::<Vec<_>>(), [low]);
    assert_eq!(store.results().list().unwrap(), [low]);
    assert!(RunMemory::new(&store, "lab").result(&high).unwrap().is_none());
    assert_eq!(store.blobs().list().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(store.layout().layers()).unwrap().count(), 0);
    // Once more there is nothing to do.
    assert!(plan_with(Some(0)).removals.is_empty(), "{:?}", plan_with(Some(0)).removals);
}

#[test]
fn how_a_result_came_to_its_packages_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let with_evidence = |name: &str| {
        let (action, _) = snapshot(&store, name, &[], name.len() as u8);
        note_evidence(&store, &action);
        action
    };
    let (stays, _goes) = (with_evidence("x/1"), with_evidence("x/other"));
    // Of an action whose result is gone already, as earlier versions left it.
    note_evidence(&store, &key(77));
    let other = b"what else the packages part knows";
    let mut batch = Batch::default();
    batch.put(Table::Packages, other, Vec::new());
    store.index().commit(batch).unwrap();
    Pin { project: "lab".to_owned(), stage: StageName::new("x/1"), key: stays }.set(&store).unwrap();
    let policy = Policy { keep: 3, budget: Some(0), packages: Packages::Keep };
    apply(&store, &plan(&Inventory::of(&store).unwrap(), &policy)).unwrap();
    assert_eq!(package_usage::actions(&store).unwrap(), [stays].into());
    assert!(store.index().get(Table::Packages, other).unwrap().is_some());
}

fn note_evidence(store: &Store, action: &ActionKey) {
    let mut facts = Batch::default();
    PackageUsage::record(Some(PackageUsage::default()), &mut facts, action);
    store.index().commit(facts).unwrap();
}
