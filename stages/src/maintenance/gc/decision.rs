//! What garbage collection decides about a store, as data: what is to be kept, what goes, and why.

use std::path::PathBuf;

use ibuild_cache::{ActionKey, BlobId, LayerId, Sha256, TreeId};

use super::inventory::LastRunRow;

/// What garbage collection is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// So many builds of each target are roots, counting only those that differ.
    pub keep: usize,
    /// The bytes that the store may take; without one only what no root needs goes.
    pub budget: Option<u64>,
    /// Whether packages may go for the sake of the budget.
    pub packages: Packages,
}

/// Whether packages may go when nothing else is left. A locked build then needs a mirror that still has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// They stay, even over the budget.
    Keep,
    /// They go, the oldest first.
    Evict,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// That an action made something.
    Result(ActionKey),
    /// What is known of a layer.
    Layer(LayerId),
    /// A layer's tarball.
    Tarball(BlobId),
    /// A finished file, or a part of some.
    Artifact(BlobId),
    /// A blob that nothing names.
    Blob(BlobId),
    /// An unpacked layer, by the name of its directory.
    Unpacked(String),
    /// A directory of trees.
    Tree(TreeId),
    /// A stage's last run.
    LastRun(LastRunRow),
    /// What a failed stage had made.
    Failed(PathBuf),
    /// A file that would be written over.
    PreviousOutput(PathBuf),
    /// The output of a stage.
    Log(PathBuf),
    /// The digests of input files.
    Memos,
    /// A file that was locked while an action was built.
    Lock(PathBuf),
    /// A package, or an index of packages.
    Package(Sha256),
}

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No root needs it.
    Unneeded,
    /// Roots need it, but the store is over its budget.
    Budget,
    /// It is only a cache over something that stays, and the store is over its budget.
    Cache,
    /// It is of no use after so long.
    Old,
}

/// Something that goes, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What.
    pub thing: Thing,
    /// Why.
    pub why: Why,
    /// Bytes of the disk that this frees, as far as they can be told in advance: facts share the index's files.
    pub bytes: u64,
    /// What it would take to make it again, in milliseconds.
    pub millis: u64,
}

/// Why a budget cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// The bytes that are too many.
    pub over: u64,
    /// The bytes of packages that stay.
    pub packages: u64,
    /// The bytes of results that stay, because they are pinned.
    pub pinned: u64,
}

/// What garbage collection would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcPlan {
    /// What goes, in the order in which it was decided.
    pub removals: Vec<Removal>,
    /// The bytes of the store before.
    pub before: u64,
    /// The bytes afterwards.
    pub after: u64,
    /// Set if the budget is not met.
    pub shortfall: Option<Shortfall>,
}

impl GcPlan {
    /// What it would take to make all again that goes, in milliseconds.
    pub fn millis(&self) -> u64 {
        self.removals.iter().map(|removal| removal.millis).sum()
    }
}
