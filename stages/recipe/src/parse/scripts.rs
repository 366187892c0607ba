//! `scripts`: directories of scripts, and what is said of single ones.

use std::collections::BTreeMap;

use super::all;
use super::settings::settings;
use crate::draft::{DraftScripts, ScriptRules, Settings};
use crate::keys;
use crate::source::At;
use crate::values::{Node, Table};

/// One directory, or several that are merged.
pub(super) fn scripts(table: &Table<'_>, node: Node<'_>) -> Option<DraftScripts> {
    const EXAMPLE: &str = "write `scripts = [\"scripts/shared\", \"scripts/gateway\"]`";
    let skip = table.get("skip").map(Node::texts).unwrap_or_default();
    let settings = table.get("settings").map(of_scripts).unwrap_or_default();
    let (dirs, rules) = match node.raw().as_array() {
        Some(_) => {
            (all(node.filled_array("directories", EXAMPLE)?, Node::inner_path)?, ScriptRules::RunParts)
        }
        None => (vec![node.inner_path()?], ScriptRules::EveryFile),
    };
    (!dirs.is_empty()).then_some(DraftScripts { dirs, rules, skip, settings })
}

fn of_scripts(node: Node<'_>) -> BTreeMap<String, At<Settings>> {
    let entries = node.entries().map(|table| table.entries()).unwrap_or_default();
    let read = |(name, node): (At<&str>, Node<'_>)| {
        let table = node.table("the settings of a script", &keys::SETTINGS)?;
        Some((name.value.to_owned(), At { value: settings(&table), at: name.at }))
    };
    entries.into_iter().filter_map(read).collect()
}
