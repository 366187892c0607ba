//! How much of the machine a payload may take, and what is said when it wants more.

use std::fmt;

use serde::{Deserialize, Serialize};

use ibuild_spec::ByteSize;

/// How much of the machine a payload may take. What is not limited here is limited by the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, of all its processes and of what it keeps in `/tmp` and `/run` together; nothing is swapped.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub processes: Option<u32>,
    /// Bytes on the disk that its changes take.
    pub disk: Option<u64>,
}

/// A limit that a payload came up against. It was stopped then, whether or not it would have helped itself: what it makes
/// must not depend on how much it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// More memory than so many bytes.
    Memory(u64),
    /// More processes and threads than these.
    Processes(u32),
    /// More than so many bytes of changes.
    Disk(u64),
}

impl Exceeded {
    /// What raises the limit, in the recipe's table `limits`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Processes(_) => "processes",
            Self::Disk(_) => "disk",
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "it needs more than {} of memory", ByteSize(*bytes)),
            Self::Processes(count) => write!(f, "it starts more than {count} processes and threads"),
            Self::Disk(bytes) => write!(f, "it writes more than {}", ByteSize(*bytes)),
        }
    }
}
