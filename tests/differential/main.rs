//! Random projects that have every key of the recipe, and random edits of everything that can be edited: whatever is edited, an
//! incremental build makes what a clean one makes, and nothing runs that could not have changed.
//!
//! `IBUILD_NIGHTLY=1` makes many more sequences of edits, `IBUILD_SEED=N` others. A sequence that fails is made smaller, and
//! told with its seed.

mod archive;
#[path = "../faults/chance.rs"]
mod chance;
mod choices;
mod compare;
mod edits;
mod elsewhere;
mod files;
mod known;
mod lab;
mod project;
mod recipe;
mod shrink;
#[path = "../harness/signer.rs"]
mod signer;
mod tables;
#[allow(dead_code, reason = "archives that move on are not of use here")]
#[path = "../archives/vendor.rs"]
mod vendor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use fastrand::Rng;
use ibuild::stages::recipe::keys;

use archive::Archives;
use choices::{Choices, Slot};
use compare::{Look, Sequence};
use edits::{Card, begin, deal, play};
use project::Project;
use shrink::{Failure, shrink};

/// Sequences of edits in every run, and in a night.
const SEQUENCES: (usize, usize) = (60, 2000);
/// Edits of each.
const EDITS: usize = 8;
/// The sequences are done by so many tests, side by side.
const SHARES: usize = 4;
/// A test has seen enough after so many failures.
const ENOUGH: usize = 2;

#[test]
fn incremental_equals_clean_in_the_first_share() {
    share(0);
}

#[test]
fn incremental_equals_clean_in_the_second_share() {
    share(1);
}

#[test]
fn incremental_equals_clean_in_the_third_share() {
    share(2);
}

#[test]
fn incremental_equals_clean_in_the_fourth_share() {
    share(3);
}

/// A part of all sequences.
#[track_caller]
fn share(number: usize) {
    let (archives, mut rng) = (Archives::new(), chance::rng());
    let sequences = chance::rounds(SEQUENCES.0, SEQUENCES.1);
    let cards = deal(&mut rng, &archives, sequences * EDITS);
    let seeds: Vec<_> = (0..sequences).map(|_| rng.u64(..)).collect();
    let (mut failures, mut refused) = (Vec::new(), Vec::new());
    for sequence in (number..sequences).step_by(SHARES) {
        let cards = &cards[sequence * EDITS..(sequence + 1) * EDITS];
        match run(&archives, seeds[sequence], cards) {
            Ok(said) => refused.extend(said),
            Err(failure) => failures.push(told(sequence, &shrink(&archives, failure))),
        }
        if failures.len() >= ENOUGH {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let (count, said) = (refused.len(), refused.join("\n"));
    assert!(
        count * SHARES * 10 <= sequences * EDITS,
        "{count} builds were refused, and compare nothing:\n{said}"
    );
}

/// What was said of the builds of a sequence that ibuild refused, clean or not.
fn run(archives: &Archives, seed: u64, cards: &[Card]) -> Result<Vec<String>, Failure> {
    let mut rng = Rng::with_seed(seed);
    let begun = begin(&mut rng, archives, cards);
    let fails = |fault, recipe, edits| Failure { begun: begun.clone(), edits, fault, recipe };
    let mut edits = Vec::new();
    let mut sequence =
        Sequence::begin(archives, &begun).map_err(|fault| fails(fault, String::new(), Vec::new()))?;
    for card in cards {
        edits.push(play(&mut rng, card, archives, &begun, &edits));
        if let Err(fault) = sequence.edit(&edits[edits.len() - 1], Look::Compare) {
            return Err(fails(fault, sequence.recipe(), edits));
        }
    }
    Ok(sequence.refused())
}

/// A failure, for somebody who has to understand it.
fn told(sequence: usize, failure: &Failure) -> String {
    let Failure { begun, edits, fault, recipe } = failure;
    let mut text = format!("\nsequence {sequence}: {fault}\n");
    for edit in edits {
        writeln!(text, "  {edit:?}").unwrap();
    }
    // What is shown is in the recipe.
    let is_unusual = |address: &String| begun.get(address) != 0 && !address.ends_with(" shown");
    let unusual: Vec<_> = begun.addresses().into_iter().filter(is_unusual).collect();
    writeln!(text, "  begun with {unusual:?}\nrecipe:\n{recipe}").unwrap();
    text
}

/// The keys that have one value only in any recipe of today.
const SINGLE: [(&str, &str); 1] = [("recipe", "schema")];

#[test]
fn every_key_of_the_recipe_has_several_values() {
    let archives = Archives::new();
    let slots = Project::write(&Choices::default(), &archives).slots;
    let mut values: BTreeMap<(&str, &str), Vec<&Slot>> = BTreeMap::new();
    slots.values().for_each(|slot| values.entry((slot.table, slot.key)).or_default().push(slot));
    let is_covered = |key: &(&str, &str)| {
        // Those that are made of other slots have as many values as these.
        values.get(key).is_some_and(|slots| slots.iter().any(|slot| slot.choices != 1))
    };
    let missing: Vec<_> = keys().filter(|key| !is_covered(key) && !SINGLE.contains(key)).collect();
    assert!(missing.is_empty(), "the generator of projects has no {missing:?}");
    let known: BTreeSet<_> = keys().collect();
    let tables = ["", "file", "vars"];
    let strange: Vec<_> =
        values.keys().filter(|key| !known.contains(key) && !tables.contains(&key.0)).collect();
    assert!(strange.is_empty(), "a recipe has no {strange:?}");
}
