//! `env` of root file systems and steps.

use std::collections::BTreeMap;

use crate::names::EnvName;
use crate::source::At;
use crate::values::Node;

/// The variables that are right; wrong ones are reported.
pub(super) fn environment(node: Node<'_>) -> BTreeMap<EnvName, String> {
    let entries = node.entries().map(|table| table.named()).unwrap_or_default();
    let read = |(name, node): (At<EnvName>, Node<'_>)| {
        let text = node.text()?;
        if text.value.contains('\0') {
            node.push(node.problem(format!("the value of `{}` contains a NUL", name.value)));
        }
        Some((name.value, text.value))
    };
    entries.into_iter().filter_map(read).collect()
}
