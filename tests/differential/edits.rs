//! Edits of a project: everything that can be chosen is chosen otherwise, files are written anew, and some change back while a
//! stage runs.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::archive::Archives;
use crate::choices::{Choices, Slot};
use crate::files::Kind;
use crate::project::Project;

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Something is chosen otherwise.
    Set {
        /// The slot.
        address: String,
        /// Which of its values.
        choice: usize,
    },
    /// A file is written anew with the same bytes.
    Touch {
        /// Where it is.
        path: String,
    },
    /// Something is chosen otherwise, and while the stage that reads it runs, it is something else for a moment.
    Flicker {
        /// The slot: that of a file's content.
        address: String,
        /// What it is before the build and after it.
        choice: usize,
        /// What it is meanwhile.
        meanwhile: usize,
    },
}

/// A kind of edit, before anything is known of the project that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Card {
    /// Another value for this slot.
    Choose(String),
    /// The value that one of the slots had before.
    Undo,
    /// A file is touched.
    Touch,
    /// What the slow stage reads changes while it runs.
    Flicker(&'static str),
}

/// What the slow stage reads.
pub const FLICKERING: [(&str, &str); 2] =
    [("file slow input content", "slow/f"), ("file slow script content", "scripts/slow")];

/// The stage that takes its time.
const SLOW: &str = "step slow slow shown";
/// What copies from the root file system that is there to be copied from.
const COPIES_FROM_SOURCE: &str = "step main dist shown";
/// The image of most steps.
const IMAGE_OF_MAIN: &str = "image main rootfs";

/// Slots of one key that are edited before those of others have had their turn. Those of what has no key are all edited: what
/// things are called, whether they are there, the settings.
const OF_A_KEY: usize = 4;

/// As many cards as are asked for: every kind of edit once, then again in another order.
pub fn deal(rng: &mut Rng, archives: &Archives, count: usize) -> Vec<Card> {
    let slots = Project::write(&Choices::default(), archives).slots;
    let mut of_key: BTreeMap<_, Vec<Card>> = BTreeMap::new();
    for (address, slot) in slots.iter().filter(|(_, slot)| slot.choices > 1) {
        of_key.entry((slot.table, slot.key)).or_default().push(Card::Choose(address.clone()));
    }
    let flickers = FLICKERING.map(|(address, _)| Card::Flicker(address));
    let others: Vec<_> = flickers.into_iter().chain([Card::Undo, Card::Undo, Card::Touch]).collect();
    let mut dealt = Vec::new();
    while dealt.len() < count {
        let mut pack = others.clone();
        for ((table, key), cards) in &mut of_key {
            rng.shuffle(cards);
            let turn = if table.is_empty() { cards.len() } else { OF_A_KEY.min(cards.len()) };
            pack.extend_from_slice(&cards[..turn]);
            // A rename has several names to go from and to, and does not matter between all of them.
            if (*table, *key) == ("", "name") {
                pack.extend_from_slice(cards);
            }
        }
        rng.shuffle(&mut pack);
        dealt.extend(pack);
    }
    dealt.truncate(count);
    dealt
}

/// A project for these edits: of everything any value, and there is what they edit, and what looks at that.
pub fn begin(rng: &mut Rng, archives: &Archives, cards: &[Card]) -> Choices {
    let mut choices = Choices::default();
    let slots = Project::write(&choices, archives).slots;
    for (address, slot) in &slots {
        // A project has most of its values as they are anywhere.
        let is_plain = rng.bool() || address == IMAGE_OF_MAIN;
        let choice = match slot.key {
            "shown" => usize::from(rng.u8(..10) < if address == SLOW { 8 } else { 4 }),
            _ if is_plain => 0,
            _ => rng.usize(..slot.choices.max(1)),
        };
        choices.set(address, choice);
    }
    for card in cards {
        match card {
            Card::Choose(address) => show(&mut choices, &slots, address),
            Card::Flicker(_) => choices.set(SLOW, 0),
            Card::Undo | Card::Touch => {}
        }
    }
    choices
}

fn show(choices: &mut Choices, slots: &BTreeMap<String, Slot>, address: &str) {
    slots[address].within.iter().for_each(|around| choices.set(around, 0));
    if slots[address].key == "shown" {
        choices.set(address, 0);
    }
    if address.starts_with("step src") {
        choices.set(COPIES_FROM_SOURCE, 0);
    }
}

/// The edit that a card asks for.
pub fn play(rng: &mut Rng, card: &Card, archives: &Archives, begun: &Choices, before: &[Edit]) -> Edit {
    let mut choices = begun.clone();
    before.iter().for_each(|edit| edit.apply(&mut choices));
    let choices = &choices;
    let project = Project::write(choices, archives);
    let other = |rng: &mut Rng, address: &str| {
        let count = project.slots[address].choices;
        (choices.get(address) + rng.usize(1..count)) % count
    };
    match card {
        // Another choice has taken away the place of this one: a step that came to use archives has no clock.
        Card::Choose(address) if !project.slots.contains_key(address) => touch(rng, &project),
        Card::Choose(address) => Edit::Set { address: address.clone(), choice: other(rng, address) },
        Card::Undo => undo(begun, before).unwrap_or_else(|| touch(rng, &project)),
        Card::Touch => touch(rng, &project),
        Card::Flicker(address) => {
            let (choice, meanwhile) = (other(rng, address), other(rng, address));
            let count = project.slots[*address].choices;
            let meanwhile = if meanwhile == choice { (choice + 1) % count } else { meanwhile };
            Edit::Flicker { address: (*address).to_owned(), choice, meanwhile }
        }
    }
}

/// Takes the last edit back.
fn undo(begun: &Choices, before: &[Edit]) -> Option<Edit> {
    let (Edit::Set { address, .. } | Edit::Flicker { address, .. }) = before.last()? else { return None };
    let earlier = before[..before.len() - 1].iter().rev().find_map(|edit| match edit {
        Edit::Set { address: it, choice } | Edit::Flicker { address: it, choice, .. } if it == address => {
            Some(*choice)
        }
        _ => None,
    });
    Some(Edit::Set { address: address.clone(), choice: earlier.unwrap_or_else(|| begun.get(address)) })
}

fn touch(rng: &mut Rng, project: &Project) -> Edit {
    let regular = project.files.iter().filter(|(_, file)| matches!(file.kind, Kind::Regular(_)));
    let paths: Vec<_> = regular.map(|(path, _)| path.clone()).collect();
    Edit::Touch { path: paths[rng.usize(..paths.len())].clone() }
}

impl Edit {
    /// What is chosen after it.
    pub fn apply(&self, choices: &mut Choices) {
        if let Self::Set { address, choice } | Self::Flicker { address, choice, .. } = self {
            choices.set(address, *choice);
        }
    }
}
