//! `machine` of a step: what it sees of the machine that it runs on, where that is not to be the host's.

use std::num::NonZeroU32;

use serde::Serialize;

use ibuild_spec::ByteSize;

/// What a step sees of the machine. Unlike its limits, what it makes may depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepMachine {
    /// The number of processors; those of the host otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<NonZeroU32>,
    /// The size of memory; that of the host otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// The order in which directories are listed.
    pub readdir: Readdir,
    /// The time of the day.
    pub clock: StepClock,
}

impl StepMachine {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The order in which directories are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readdir {
    /// That of the file system of the store.
    #[default]
    Stored,
    /// By the bytes of the names.
    Sorted,
}

impl Readdir {
    /// The words for them in a recipe.
    pub(super) const WORDS: &[(&str, Self)] = &[("stored", Self::Stored), ("sorted", Self::Sorted)];

    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Sorted => "sorted",
        }
    }
}

/// The time of the day that programs read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepClock {
    /// That of the host.
    #[default]
    Host,
    /// The step begins at the project's epoch.
    Epoch,
}

impl StepClock {
    /// The words for them in a recipe.
    pub(super) const WORDS: &[(&str, Self)] = &[("host", Self::Host), ("epoch", Self::Epoch)];

    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Epoch => "epoch",
        }
    }
}
