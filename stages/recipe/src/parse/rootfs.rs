//! `[rootfs.NAME]`.

use super::environment::environment;
use super::limits::limits;
use super::step;
use crate::draft::DraftRootfs;
use crate::keys;
use crate::names::RootfsName;
use crate::values::Node;

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
