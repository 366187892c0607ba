//! Tables of a recipe while they are written: their text, and what of it counts.

use crate::choices::{Choices, Slots};

/// Keys that never change what is built: what they are called, how long and how much of the machine they may take, from where
/// a mirror is asked, and all of machine tests.
const WITHOUT_EFFECT: [(&str, &str); 12] = [
    ("project", "name"),
    ("step", "name"),
    ("step", "timeout"),
    ("step", "reproducible"),
    ("settings", "timeout"),
    ("settings", "reproducible"),
    ("limits", "memory"),
    ("limits", "processes"),
    ("limits", "disk"),
    ("archive", "mirror"),
    ("archive", "security-mirror"),
    ("archive", "architecture"),
];

/// One table.
pub struct Table<'c> {
    chosen: &'c Choices,
    slots: &'c Slots,
    kind: &'static str,
    at: String,
    entries: Vec<String>,
    meaning: String,
}

impl<'c> Table<'c> {
    pub fn new(chosen: &'c Choices, slots: &'c Slots, kind: &'static str, at: impl Into<String>) -> Self {
        Self { chosen, slots, kind, at: at.into(), entries: Vec::new(), meaning: String::new() }
    }

    /// A key with one of these values, written in TOML; an empty one means that the key is not there.
    pub fn any<'v>(&mut self, key: &'static str, values: &[&'v str]) -> &'v str {
        let value = self.slots.pick(self.chosen, self.kind, &self.at, key, values);
        self.put(key, value);
        value
    }

    /// One of these texts.
    pub fn text<'v>(&mut self, key: &'static str, texts: &[&'v str]) -> &'v str {
        let text = self.slots.pick(self.chosen, self.kind, &self.at, key, texts);
        if !text.is_empty() {
            self.put(key, &quoted(text));
        }
        text
    }

    /// A key whose value is made of what is chosen elsewhere. What of that counts is said besides.
    pub fn is(&mut self, key: &'static str, value: &str) {
        self.slots.compose(self.kind, &self.at, key);
        self.entry(key, value);
    }

    /// A key that is chosen elsewhere, and counts elsewhere.
    pub fn entry(&mut self, key: &str, value: &str) {
        self.entries.push(format!("{key} = {value}"));
    }

    /// A table within.
    pub fn table(&mut self, key: &'static str, kind: &'static str, write: impl FnOnce(&mut Table<'c>)) {
        let mut inner = Table::new(self.chosen, self.slots, kind, format!("{} {key}", self.at));
        let is_there =
            self.slots.pick(self.chosen, self.kind, &self.at, key, &["there", "absent"]) == "there";
        write(&mut inner);
        if is_there {
            self.entry(key, &inner.inline());
            if !inner.meaning.is_empty() {
                self.count(key, &inner.meaning);
            }
        }
    }

    /// Tables within, in an order of choice.
    pub fn tables(&mut self, key: &'static str, kind: &'static str, writes: &[&dyn Fn(&mut Table<'c>)]) {
        let mut inner: Vec<Table<'c>> = Vec::new();
        for (number, write) in writes.iter().enumerate() {
            let mut table = Table::new(self.chosen, self.slots, kind, format!("{} {key} {number}", self.at));
            write(&mut table);
            inner.push(table);
        }
        match self.slots.pick(
            self.chosen,
            self.kind,
            &self.at,
            key,
            &["as they are", "reversed", "rotated", "but one"],
        ) {
            "reversed" => inner.reverse(),
            "rotated" => inner.rotate_left(1),
            "but one" => drop(inner.pop()),
            _ => {}
        }
        let texts: Vec<_> = inner.iter().map(Table::inline).collect();
        self.entries.push(format!("{key} = [{}]", texts.join(", ")));
        let meanings: String = inner.iter().map(|table| table.meaning.clone() + ";").collect();
        self.count(key, &meanings);
    }

    /// Something that counts and does not stand in this table.
    pub fn count(&mut self, what: &str, value: &str) {
        if !WITHOUT_EFFECT.contains(&(self.kind, what)) {
            self.meaning += &format!("{what}={value}\n");
        }
    }

    /// What of it counts.
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// As a value of another.
    pub fn inline(&self) -> String {
        format!("{{ {} }}", self.entries.join(", "))
    }

    /// As lines under a heading.
    pub fn lines(&self) -> String {
        self.entries.iter().map(|entry| entry.clone() + "\n").collect()
    }

    fn put(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.entries.push(format!("{key} = {value}"));
            self.count(key, value);
        }
    }
}

/// A text as TOML has it.
pub fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
