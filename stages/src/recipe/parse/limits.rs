//! `limits = { memory = "2 GiB", processes = 4096, disk = "10 GiB" }`.

use super::{keys, optional};
use crate::recipe::limits::Limits;
use crate::recipe::units::ByteSize;
use crate::recipe::values::Node;

/// The limits that are right; wrong ones are reported.
pub(super) fn limits(node: Node<'_>) -> Limits {
    let Some(table) = node.table("`limits`", &keys::LIMITS) else {
        return Limits::default();
    };
    let size = |key| optional(&table, key, |node| node.parsed::<ByteSize>().map(|size| size.value)).flatten();
    Limits {
        memory: size("memory"),
        processes: optional(&table, "processes", count).flatten(),
        disk: size("disk"),
    }
}

fn count(node: Node<'_>) -> Option<u32> {
    let number = node.integer()?;
    let fits = u32::try_from(number).ok().filter(|count| *count > 0);
    if fits.is_none() {
        let problem = node.problem(format!("`{number}` is not a number of processes"));
        node.push(problem.hint("write a whole number above zero, such as `4096`"));
    }
    fits
}
