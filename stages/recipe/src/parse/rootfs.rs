//! `[rootfs.NAME]`.

use std::collections::BTreeMap;

use super::limits::limits;
use super::{keys, step};
use crate::draft::DraftRootfs;
use crate::names::{EnvName, RootfsName};
use crate::values::{At, Node};

const STEPS: &str = "write `steps = [{ name = \"files\", copy = [...] }]`";

/// Always a draft, if an empty one: the name exists even if nothing about it is right.
pub(super) fn rootfs(name: &RootfsName, node: Node<'_>) -> DraftRootfs {
    let what = format!("`[rootfs.{name}]`");
    let Some(table) = node.table(&what, &keys::ROOTFS) else {
        return DraftRootfs::default();
    };
    let steps = table.require(&what, "steps", STEPS);
    let steps = steps.and_then(|node| node.filled_array("steps", STEPS)).unwrap_or_default();
    DraftRootfs {
        from: table.get("from").and_then(Node::parsed),
        env: table.get("env").map(environment).unwrap_or_default(),
        limits: table.get("limits").map(limits).unwrap_or_default(),
        steps: steps.into_iter().filter_map(step::step).collect(),
    }
}

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
