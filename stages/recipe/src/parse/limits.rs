//! `limits = { memory = "2 GiB", processes = 4096, disk = "10 GiB" }`.

use ibuild_spec::ByteSize;

use super::optional;
use crate::keys;
use crate::limits::{LEAST_MEMORY, Limits};
use crate::values::Node;

/// The limits that are right; wrong ones are reported.
pub(super) fn limits(node: Node<'_>) -> Limits {
    let Some(table) = node.table("`limits`", &keys::LIMITS) else {
        return Limits::default();
    };
    let size = |node: Node<'_>| node.parsed::<ByteSize>().map(|size| size.value);
    Limits {
        memory: optional(&table, "memory", memory).flatten(),
        processes: optional(&table, "processes", count).flatten(),
        disk: optional(&table, "disk", size).flatten(),
    }
}

fn memory(node: Node<'_>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?.value;
    if size >= LEAST_MEMORY {
        return Some(size);
    }
    let problem = node.problem(format!("no program can start with {size} of memory"));
    node.push(problem.hint(format!("the least that can be enforced is `{LEAST_MEMORY}`")));
    None
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
