//! `machine = { cpus = 2, memory = "4 GiB", readdir = "sorted", clock = "epoch" }`.

use std::num::NonZeroU32;

use ibuild_spec::ByteSize;
use ibuild_spec::bounds;

use super::optional;
use crate::keys;
use crate::step_machine::{Readdir, StepClock, StepMachine};
use crate::values::Node;

/// What is right of it; what is wrong is reported.
pub(super) fn step_machine(node: Node<'_>) -> StepMachine {
    let Some(table) = node.table("`machine`", &keys::MACHINE) else {
        return StepMachine::default();
    };
    let readdir = |node: Node<'_>| node.word("way to list directories", Readdir::WORDS);
    let clock = |node: Node<'_>| node.word("clock", StepClock::WORDS);
    StepMachine {
        cpus: optional(&table, "cpus", cpus).flatten(),
        memory: optional(&table, "memory", memory).flatten(),
        readdir: optional(&table, "readdir", readdir).flatten().unwrap_or_default(),
        clock: optional(&table, "clock", clock).flatten().unwrap_or_default(),
    }
}

fn cpus(node: Node<'_>) -> Option<NonZeroU32> {
    let number = node.integer()?;
    node.fits(bounds::cpus(number))?;
    NonZeroU32::new(u32::try_from(number).ok()?)
}

fn memory(node: Node<'_>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?.value;
    node.fits(bounds::memory(size.0)).map(|()| size)
}
