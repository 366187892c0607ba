//! `limits`: how much of the machine a step may take.

use serde::Serialize;

use ibuild_spec::ByteSize;

/// The least memory of a step. What the kernel itself needs for a control group and its processes counts, too, and takes
/// some hundreds of kilobytes, by the number of processors: a group with less cannot be made, or nothing starts in it.
pub(super) const LEAST_MEMORY: ByteSize = ByteSize(4 << 20);

/// How much of the machine a step may take. What is not said is not limited by the recipe. Never part of a key: a step
/// that comes up against a limit fails, so what steps make does not depend on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Memory, of all its processes and of what it keeps in `/tmp` and `/run` together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processes and threads at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// What its changes take on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<ByteSize>,
}

impl Limits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These, and for what they do not say, those of what is around.
    pub(super) fn or(self, around: Self) -> Self {
        Self {
            memory: self.memory.or(around.memory),
            processes: self.processes.or(around.processes),
            disk: self.disk.or(around.disk),
        }
    }
}
