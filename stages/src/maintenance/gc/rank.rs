//! Which results are the cheapest to do without: the least time to make them again for each byte that they free.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::{ActionKey, BlobId, LayerId};

use super::inventory::Inventory;
use super::roots::Needs;

/// Who needs whom among the results of an inventory.
pub(super) struct Ranking<'a> {
    inventory: &'a Inventory,
    needs: Needs,
    needed_by: Needs,
}

/// Results that can go together without taking anything from those that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Which ones, all that need another of them included.
    pub keys: BTreeSet<ActionKey>,
    /// The bytes that they free.
    pub bytes: u64,
    /// What it takes to make them again, in milliseconds.
    pub millis: u64,
}

impl<'a> Ranking<'a> {
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let mut needs = inventory.needs.clone();
        for (key, parent) in by_layers(inventory) {
            needs.entry(key).or_default().insert(parent);
        }
        let mut needed_by = Needs::new();
        for (key, inputs) in &needs {
            for input in inputs {
                needed_by.entry(*input).or_default().insert(*key);
            }
        }
        Self { inventory, needs, needed_by }
    }

    /// These actions, and all that they were made of.
    pub(super) fn with_needs(&self, keys: BTreeSet<ActionKey>) -> BTreeSet<ActionKey> {
        reach(&self.needs, keys.into_iter().collect(), |_| true)
    }

    /// The cheapest of those results that nothing that is kept needs, except together with others that free nothing.
    /// `None` if nothing that may go would free anything.
    pub(super) fn cheapest(
        &self,
        kept: &BTreeSet<ActionKey>,
        pinned: &BTreeSet<ActionKey>,
    ) -> Option<Choice> {
        let uses = Uses::of(self.inventory, kept);
        let mut idle: BTreeSet<ActionKey> = BTreeSet::new();
        let mut seen: BTreeSet<ActionKey> = BTreeSet::new();
        let is_leaf = |key: &ActionKey, idle: &BTreeSet<ActionKey>| {
            self.users(key).all(|user| !kept.contains(user) || idle.contains(user))
        };
        let mut open: Vec<_> = kept.iter().copied().filter(|key| is_leaf(key, &idle)).collect();
        let mut best: Option<Choice> = None;
        while let Some(key) = open.pop() {
            if pinned.contains(&key) || !seen.insert(key) {
                continue;
            }
            let choice = self.choice(key, kept, &uses);
            if choice.bytes > 0 {
                best = Some(best.map_or_else(|| choice.clone(), |best| best.cheaper(choice.clone())));
                continue;
            }
            idle.insert(key);
            let inputs = self.needs.get(&key).into_iter().flatten();
            open.extend(inputs.filter(|input| kept.contains(input) && is_leaf(input, &idle)));
        }
        best
    }

    fn users(&self, key: &ActionKey) -> impl Iterator<Item = &ActionKey> {
        self.needed_by.get(key).into_iter().flatten()
    }

    fn choice(&self, key: ActionKey, kept: &BTreeSet<ActionKey>, uses: &Uses) -> Choice {
        let keys = reach(&self.needed_by, vec![key], |key| kept.contains(key));
        let own = Uses::of(self.inventory, &keys);
        let millis = keys.iter().map(|key| self.inventory.results[key].millis).sum();
        Choice { bytes: uses.freed_by(&own, self.inventory), millis, keys }
    }
}

impl Choice {
    /// The one that costs less time for each byte; of equal ones the greater, because fewer are enough.
    fn cheaper(self, other: Self) -> Self {
        let cost = |this: &Self, that: &Self| u128::from(this.millis) * u128::from(that.bytes);
        match cost(&self, &other).cmp(&cost(&other, &self)) {
            std::cmp::Ordering::Less => self,
            std::cmp::Ordering::Equal if (self.bytes, &self.keys) >= (other.bytes, &other.keys) => self,
            _ => other,
        }
    }
}

/// How many results use each layer and each blob of a file.
#[derive(Default)]
struct Uses {
    layers: BTreeMap<LayerId, usize>,
    files: BTreeMap<BlobId, usize>,
}

impl Uses {
    fn of(inventory: &Inventory, keys: &BTreeSet<ActionKey>) -> Self {
        let mut uses = Self::default();
        for result in keys.iter().filter_map(|key| inventory.results.get(key)) {
            result.layers.iter().for_each(|layer| *uses.layers.entry(*layer).or_default() += 1);
            result.files.iter().for_each(|blob| *uses.files.entry(*blob).or_default() += 1);
        }
        uses
    }

    /// The bytes of what only `own` uses.
    fn freed_by(&self, own: &Self, inventory: &Inventory) -> u64 {
        let layers = own.layers.iter().filter(|(layer, count)| self.layers.get(layer) == Some(count));
        let tarballs = layers.filter_map(|(layer, _)| Some(inventory.layers.get(layer)?.blob));
        let files = own.files.iter().filter(|(blob, count)| self.files.get(blob) == Some(count));
        let blobs: BTreeSet<_> = tarballs.chain(files.map(|(blob, _)| *blob)).collect();
        blobs.iter().filter_map(|blob| inventory.blobs.get(blob)).sum()
    }
}

/// Snapshots by the longest other one that they begin with, for results that no remembered build tells of.
fn by_layers(inventory: &Inventory) -> Vec<(ActionKey, ActionKey)> {
    let mut places: BTreeMap<&[LayerId], Vec<ActionKey>> = BTreeMap::new();
    for (key, result) in inventory.results.iter().filter(|(_, result)| !result.layers.is_empty()) {
        places.entry(&result.layers).or_default().push(*key);
    }
    let mut found = Vec::new();
    for (key, result) in &inventory.results {
        let shorter = (1..result.layers.len()).rev();
        let parents = shorter.filter_map(|length| places.get(&result.layers[..length])).next();
        found.extend(parents.into_iter().flatten().map(|parent| (*key, *parent)));
    }
    found
}

/// Everything that the edges lead to from `open` through what `may` allows, itself included.
fn reach(edges: &Needs, mut open: Vec<ActionKey>, may: impl Fn(&ActionKey) -> bool) -> BTreeSet<ActionKey> {
    let mut reached = BTreeSet::new();
    while let Some(key) = open.pop() {
        if may(&key) && reached.insert(key) {
            open.extend(edges.get(&key).into_iter().flatten());
        }
    }
    reached
}
