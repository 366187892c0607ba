//! The machine that a step sees.

use crate::recipe::{Readdir, Step, StepMachine};
use crate::sandbox::{Machine, MemorySize, ReaddirOrder};

/// The canonical one, with what the recipe says of the step's.
pub(crate) fn machine_of(step: &Step) -> Machine {
    let StepMachine { cpus, memory, readdir } = step.machine;
    let readdir = match readdir {
        Readdir::Stored => ReaddirOrder::AsStored,
        Readdir::Sorted => ReaddirOrder::Sorted,
    };
    Machine { cpus, memory: memory.map(|size| MemorySize(size.0)), readdir, ..Machine::canonical() }
}
