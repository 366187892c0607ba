//! What can be chosen in a project. Whoever writes a project down picks each of its values here, and so everybody knows
//! what else it could have been.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// What was chosen, by the address of what it was chosen for. The first choice is made where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    chosen: BTreeMap<String, usize>,
}

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The kind of table that it is in, or what it is instead.
    pub table: &'static str,
    /// Its key there.
    pub key: &'static str,
    /// How many values there are to choose from; none for one that is made of others.
    pub choices: usize,
    /// What has to be shown for it to matter, by the addresses of slots.
    pub within: Vec<String>,
}

/// All slots of a project by their addresses, found while it is written down.
#[derive(Debug, Default)]
pub struct Slots {
    found: RefCell<BTreeMap<String, Slot>>,
    within: RefCell<Vec<String>>,
}

impl Choices {
    pub fn set(&mut self, address: &str, choice: usize) {
        self.chosen.insert(address.to_owned(), choice);
    }

    pub fn get(&self, address: &str) -> usize {
        self.chosen.get(address).copied().unwrap_or_default()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.chosen.keys().cloned().collect()
    }
}

impl Slots {
    /// The value that was chosen for a key of a table, of these. An empty one stands for a key that is not there.
    pub fn pick<'v>(
        &self,
        chosen: &Choices,
        table: &'static str,
        at: &str,
        key: &'static str,
        values: &[&'v str],
    ) -> &'v str {
        let address = format!("{at} {key}");
        let within = self.within.borrow().clone();
        let slot = Slot { table, key, choices: values.len(), within };
        let choice = chosen.get(&address);
        let twin = self.found.borrow_mut().insert(address.clone(), slot);
        assert!(twin.is_none(), "two slots are called `{address}`");
        values.get(choice).unwrap_or_else(|| panic!("`{address}` has no choice {choice}"))
    }

    /// A key whose value is made of what is chosen elsewhere.
    pub fn compose(&self, table: &'static str, at: &str, key: &'static str) {
        let slot = Slot { table, key, choices: 0, within: Vec::new() };
        self.found.borrow_mut().insert(format!("{at} {key}"), slot);
    }

    /// Whether something is shown at all. What is picked meanwhile matters only then.
    pub fn shown<T>(&self, chosen: &Choices, at: &str, write: impl FnOnce() -> T) -> Option<T> {
        let address = format!("{at} shown");
        let is_shown = self.pick(chosen, "", at, "shown", &["yes", "no"]) == "yes";
        self.within.borrow_mut().push(address);
        let written = write();
        self.within.borrow_mut().pop();
        is_shown.then_some(written)
    }

    pub fn into_found(self) -> BTreeMap<String, Slot> {
        self.found.into_inner()
    }
}
