//! The machine that a step sees.

use crate::recipe::{Readdir, Step, StepClock, StepMachine};
use crate::sandbox::{Clock, MemorySize, ReaddirOrder, VisibleMachine};

/// The canonical one, with what the recipe says of the step's. `epoch` is the project's, in seconds since 1970.
pub(crate) fn machine_of(step: &Step, epoch: i64) -> VisibleMachine {
    let StepMachine { cpus, memory, readdir, clock } = step.machine;
    let readdir = match readdir {
        Readdir::Stored => ReaddirOrder::AsStored,
        Readdir::Sorted => ReaddirOrder::Sorted,
    };
    let clock = match clock {
        StepClock::Host => Clock::Host,
        StepClock::Epoch => Clock::StartsAt(epoch),
    };
    VisibleMachine {
        cpus,
        memory: memory.map(|size| MemorySize(size.0)),
        readdir,
        clock,
        ..VisibleMachine::canonical()
    }
}
