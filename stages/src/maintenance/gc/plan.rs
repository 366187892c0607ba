//! Decides what goes, and says why. A function of data: it touches nothing.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::{ActionKey, BlobId, LayerId, TreeId};

use super::decision::{GcPlan, Packages, Policy, Removal, Shortfall, Thing, Why};
use super::inventory::{HeldPath, Inventory};
use super::rank::Ranking;
use super::roots::Root;

/// A failure that nobody looked into for so long is forgotten.
const FORGET_FAILURES_AFTER: u64 = 7 * 24 * 60 * 60;

/// A target that was not made for so long does not have to be made fast.
const FORGET_SPARES_AFTER: u64 = FORGET_FAILURES_AFTER;

/// Nothing tells which digests of input files are of no use any more. Beyond so many all go: those that are of use
/// come back at the price of reading their files once.
const MOST_MEMOS: usize = 100_000;

/// Plans what goes.
pub fn plan(inventory: &Inventory, policy: &Policy) -> GcPlan {
    let mut draft = Draft::new(inventory, policy);
    draft.sort_out();
    if let Some(budget) = policy.budget {
        draft.evict_spares(budget);
        draft.evict_unpacked(budget);
        draft.evict_failures(budget);
        draft.evict_results(budget);
        if policy.packages == Packages::Evict {
            draft.evict_packages(budget);
        }
    }
    draft.finish()
}

/// A plan in the making: what stays, and why the rest does not.
struct Draft<'a> {
    inventory: &'a Inventory,
    policy: &'a Policy,
    ranking: Ranking<'a>,
    /// All actions that roots need, whether or not their results are there.
    wanted: BTreeSet<ActionKey>,
    pinned: BTreeSet<ActionKey>,
    kept: BTreeSet<ActionKey>,
    failed: Vec<&'a HeldPath>,
    unpacked: BTreeSet<&'a str>,
    plan: GcPlan,
}

/// What a set of results, and of failures, cannot do without.
#[derive(Debug, Default)]
struct Needed {
    layers: BTreeSet<LayerId>,
    blobs: BTreeSet<BlobId>,
}

impl<'a> Draft<'a> {
    fn new(inventory: &'a Inventory, policy: &'a Policy) -> Self {
        let ranking = Ranking::of(inventory);
        let pins = inventory.roots.iter().filter_map(|root| match root {
            Root::Pin(key) => Some(*key),
            _ => None,
        });
        let pinned = ranking.with_needs(pins.collect());
        let mut roots = latest_builds(&inventory.roots, policy.keep);
        roots.extend(inventory.roots.iter().filter_map(|root| match root {
            Root::InWork(key) | Root::Pin(key) => Some(*key),
            Root::Build { .. } => None,
        }));
        let wanted = ranking.with_needs(roots);
        let kept = wanted.iter().copied().filter(|key| inventory.results.contains_key(key)).collect();
        let plan = GcPlan { before: inventory.total, after: inventory.total, ..GcPlan::default() };
        let (failed, unpacked) = (Vec::new(), BTreeSet::new());
        Self { inventory, policy, ranking, wanted, pinned, kept, failed, unpacked, plan }
    }

    fn remove(&mut self, thing: Thing, why: Why, bytes: u64, millis: u64) {
        self.plan.after = self.plan.after.saturating_sub(bytes);
        self.plan.removals.push(Removal { thing, why, bytes, millis });
    }

    fn needed(&self) -> Needed {
        let mut needed = Needed::default();
        for key in &self.kept {
            let result = &self.inventory.results[key];
            needed.layers.extend(&result.layers);
            needed.blobs.extend(&result.files);
        }
        self.failed.iter().for_each(|failed| needed.layers.extend(&failed.layers));
        let layers = needed.layers.iter().filter_map(|layer| self.inventory.layers.get(layer));
        needed.blobs.extend(layers.map(|layer| layer.blob));
        needed
    }

    /// Everything that goes whether or not there is a budget.
    fn sort_out(&mut self) {
        let inventory = self.inventory;
        let unwanted: Vec<_> =
            inventory.results.iter().filter(|(key, _)| !self.wanted.contains(key)).collect();
        for (key, result) in unwanted {
            self.remove(Thing::Result(*key), Why::Unneeded, 0, result.millis);
        }
        for key in &inventory.lost_results {
            self.remove(Thing::Result(*key), Why::Unneeded, 0, 0);
        }
        let (old, young): (Vec<_>, Vec<_>) =
            inventory.failed.iter().partition(|failed| failed.age > FORGET_FAILURES_AFTER);
        for failed in old {
            self.remove(Thing::Failed(failed.path.clone()), Why::Old, failed.bytes, 0);
        }
        self.failed = young;
        for spare in inventory.spares.iter().filter(|spare| spare.age > FORGET_SPARES_AFTER) {
            self.remove(Thing::PreviousOutput(spare.path.clone()), Why::Old, spare.bytes, 0);
        }
        self.remove_content(Why::Unneeded);
        self.remove_stray_directories();
        self.sort_out_the_rest();
    }

    /// Takes out of the content what nothing that is kept needs, and has not gone yet.
    fn remove_content(&mut self, why: Why) {
        let needed = self.needed();
        let gone: BTreeSet<_> =
            self.plan.removals.iter().filter_map(|removal| blob_of(&removal.thing)).collect();
        let gone_layers: BTreeSet<_> =
            self.plan.removals.iter().filter_map(|removal| layer_of(&removal.thing)).collect();
        let inventory = self.inventory;
        for layer in inventory.layers.keys().filter(|layer| !needed.layers.contains(layer)) {
            if !gone_layers.contains(layer) {
                self.remove(Thing::Layer(*layer), why, 0, 0);
            }
        }
        let tarballs: BTreeSet<_> = inventory.layers.values().map(|layer| layer.blob).collect();
        let files: BTreeSet<_> = inventory.results.values().flat_map(|result| &result.files).collect();
        for (blob, bytes) in inventory.blobs.iter().filter(|(blob, _)| !needed.blobs.contains(blob)) {
            let thing = match blob {
                blob if gone.contains(blob) => continue,
                blob if tarballs.contains(blob) => Thing::Tarball(*blob),
                blob if files.contains(blob) => Thing::Artifact(*blob),
                blob => Thing::Blob(*blob),
            };
            self.remove(thing, why, *bytes, 0);
        }
    }

    fn remove_stray_directories(&mut self) {
        let names: BTreeSet<_> = self.needed().layers.iter().map(Inventory::directory_of).collect();
        for (name, held) in &self.inventory.unpacked {
            if names.contains(name) {
                self.unpacked.insert(name);
            } else {
                self.remove(Thing::Unpacked(name.clone()), Why::Unneeded, held.bytes, 0);
            }
        }
    }

    /// Facts and files about stages that are gone.
    fn sort_out_the_rest(&mut self) {
        let inventory = self.inventory;
        let (stay, go): (Vec<_>, Vec<_>) =
            inventory.last_runs.iter().partition(|last| self.wanted.contains(&last.key));
        for last in go {
            self.remove(Thing::LastRun(last.clone()), Why::Unneeded, 0, 0);
        }
        let known: BTreeSet<_> =
            stay.iter().map(|last| (last.project.as_str(), last.stage.as_str())).collect();
        for log in &inventory.logs {
            let is_known = known.contains(&(log.project.as_str(), log.stage.as_str()));
            if !is_known && log.age > FORGET_FAILURES_AFTER {
                self.remove(Thing::Log(log.path.clone()), Why::Unneeded, log.bytes, 0);
            }
        }
        if inventory.memos > MOST_MEMOS {
            self.remove(Thing::Memos, Why::Old, 0, 0);
        }
        for lock in &inventory.locks {
            self.remove(Thing::Lock(lock.clone()), Why::Old, 0, 0);
        }
    }

    /// These first: all that they save is to write the next image as a whole.
    fn evict_spares(&mut self, budget: u64) {
        let young = self.inventory.spares.iter().filter(|spare| spare.age <= FORGET_SPARES_AFTER);
        for spare in young {
            if self.plan.after <= budget {
                return;
            }
            self.remove(Thing::PreviousOutput(spare.path.clone()), Why::Cache, spare.bytes, 0);
        }
    }

    /// Directories next: they are made again from tarballs that stay. The one that was longest of no use goes first.
    fn evict_unpacked(&mut self, budget: u64) {
        let inventory = self.inventory;
        let mut by_age: Vec<_> =
            self.unpacked.iter().map(|name| (inventory.unpacked[*name].used, *name)).collect();
        by_age.sort_unstable();
        for (_, name) in by_age {
            if self.plan.after <= budget {
                return;
            }
            self.unpacked.remove(name);
            let bytes = inventory.unpacked[name].bytes;
            self.remove(Thing::Unpacked(name.to_owned()), Why::Cache, bytes, 0);
        }
    }

    fn evict_failures(&mut self, budget: u64) {
        if self.plan.after <= budget {
            return;
        }
        for failed in std::mem::take(&mut self.failed) {
            self.remove(Thing::Failed(failed.path.clone()), Why::Budget, failed.bytes, 0);
        }
        self.remove_content(Why::Budget);
    }

    fn evict_results(&mut self, budget: u64) {
        let mut after = self.plan.after;
        while after > budget {
            let Some(choice) = self.ranking.cheapest(&self.kept, &self.pinned) else { break };
            after = after.saturating_sub(choice.bytes);
            for key in choice.keys {
                self.kept.remove(&key);
                let millis = self.inventory.results[&key].millis;
                self.remove(Thing::Result(key), Why::Budget, 0, millis);
            }
        }
        self.remove_content(Why::Budget);
    }

    fn evict_packages(&mut self, budget: u64) {
        let mut by_age: Vec<_> = self.inventory.packages.iter().collect();
        by_age.sort_by_key(|package| (package.time, package.digest));
        for package in by_age {
            if self.plan.after <= budget {
                return;
            }
            self.remove(Thing::Package(package.digest), Why::Budget, package.bytes, 0);
        }
    }

    /// Trees come last, when it is clear which results stay.
    fn finish(mut self) -> GcPlan {
        let roots = self.kept.iter().filter_map(|key| self.inventory.results[key].tree);
        let last_runs = self.inventory.last_runs.iter().filter(|last| self.wanted.contains(&last.key));
        let roots = roots.chain(last_runs.flat_map(|last| last.inputs.iter().copied()));
        let marked = mark(&self.inventory.trees, roots.collect());
        for tree in self.inventory.trees.keys().filter(|tree| !marked.contains(tree)) {
            self.remove(Thing::Tree(*tree), Why::Unneeded, 0, 0);
        }
        self.plan.shortfall = self.policy.budget.and_then(|budget| self.shortfall(budget));
        self.plan
    }

    fn shortfall(&self, budget: u64) -> Option<Shortfall> {
        let over = self.plan.after.checked_sub(budget).filter(|over| *over > 0)?;
        let kept = self.needed().blobs;
        let pinned = kept.iter().filter_map(|blob| self.inventory.blobs.get(blob)).sum();
        let packages = match self.policy.packages {
            Packages::Keep => self.inventory.packages.iter().map(|package| package.bytes).sum(),
            Packages::Evict => 0,
        };
        Some(Shortfall { over, packages, pinned })
    }
}

fn blob_of(thing: &Thing) -> Option<BlobId> {
    match thing {
        Thing::Tarball(blob) | Thing::Artifact(blob) | Thing::Blob(blob) => Some(*blob),
        _ => None,
    }
}

fn layer_of(thing: &Thing) -> Option<LayerId> {
    match thing {
        Thing::Layer(layer) => Some(*layer),
        _ => None,
    }
}

/// The actions of the last builds of each target, so many that differ.
fn latest_builds(roots: &[Root], keep: usize) -> BTreeSet<ActionKey> {
    let mut latest: BTreeMap<(&str, &str), Vec<&BTreeSet<ActionKey>>> = BTreeMap::new();
    let mut builds: Vec<_> = roots
        .iter()
        .filter_map(|root| match root {
            Root::Build { project, targets, number, keys } => Some((number, project, targets, keys)),
            _ => None,
        })
        .collect();
    builds.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    for (_, project, targets, keys) in builds {
        for target in targets {
            let of_target = latest.entry((project, target)).or_default();
            if of_target.len() < keep && !of_target.contains(&keys) {
                of_target.push(keys);
            }
        }
    }
    latest.into_values().flatten().flatten().copied().collect()
}

/// Everything that can be reached from `roots`.
fn mark(trees: &BTreeMap<TreeId, Vec<TreeId>>, roots: Vec<TreeId>) -> BTreeSet<TreeId> {
    let (mut marked, mut open) = (BTreeSet::new(), roots);
    while let Some(tree) = open.pop() {
        if marked.insert(tree) {
            open.extend(trees.get(&tree).into_iter().flatten());
        }
    }
    marked
}
