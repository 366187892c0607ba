//! Who owns files in the machine.

use std::fmt;

use serde::Serialize;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By name, to be looked up in the machine's own `/etc/passwd` or `/etc/group`.
    Name(String),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Id(id) => id.fmt(f),
            Account::Name(name) => f.write_str(name),
        }
    }
}
