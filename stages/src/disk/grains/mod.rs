//! Disks in grains of 64 KiB, each compressed once.
//!
//! What a grain holds is known from the disk's map without reading it, and that is its name. The compressed form of a grain
//! with this name is the same wherever it is: in an earlier file that holds the disk, a [`Pack`], or made now.

mod collect;
mod pack;
mod plan;
mod squeeze;
#[cfg(test)]
mod tests;

pub use collect::{Collected, Grains, NewGrains};
pub use pack::{Kept, Pack, PackRecord};
pub use plan::{Grain, GrainKey, plan};

use super::digest::Digests;

/// A disk of grains that was written.
#[derive(Debug)]
pub struct WrittenDisk {
    /// Its size and digests.
    pub digests: Digests,
    /// Where its compressed grains are in it.
    pub grains: Vec<(GrainKey, Kept)>,
}

/// Bytes in a grain, the unit of compression and of change.
pub const GRAIN: u64 = 65536;

/// What the compressed form of a grain depends on besides its content. It is part of every grain's name.
pub const CODEC: &str = "zlib, libdeflater 1.26, level 5, or 0 if even";
