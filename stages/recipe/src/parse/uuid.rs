//! UUIDs of machines, disks and file systems.

use uuid::Uuid;

use crate::values::Node;

pub(super) fn uuid(node: Node<'_>) -> Option<Uuid> {
    let text = node.text()?.value;
    let uuid = Uuid::try_parse(&text).ok().filter(|uuid| !uuid.is_nil());
    if uuid.is_none() {
        let problem = node.problem(format!("`{text}` is not a UUID"));
        node.push(problem.hint("UUIDs are written like `26ada0c0-1165-4098-884d-aafd2220c2c6`"));
    }
    uuid
}
