//! Disks in grains of 64 KiB, each compressed once.
//!
//! What a grain holds is known from the disk's map without reading it, and that is its name. The compressed form of a grain
//! with this name is the same whoever made it: it is found in a pack ([`Packs`]), or made now and put into a new one.

mod collect;
mod pack;
mod plan;
mod squeeze;
mod stretch;
#[cfg(test)]
mod tests;

pub use collect::{DiskGrain, DiskGrains, collect};
pub use pack::{FinishedPack, PackedGrain, Packs};
pub use plan::{Grain, GrainKey, plan};
#[cfg(test)]
pub use squeeze::Squeezer;
#[cfg(test)]
pub use stretch::stretched;

/// Bytes in a grain, the unit of compression and of change.
pub const GRAIN: u64 = 65536;

/// What the compressed form of a grain depends on besides its content. It is part of every grain's name. The library's release is
/// the one that Cargo took (`build.rs`); the number behind `zlib` is ours, and is raised if what we do with it changes.
pub const CODEC: &str = concat!(
    "zlib 1, libdeflate-sys ",
    env!("LIBDEFLATE_RELEASE"),
    ", level 6, or 0 if even by a hundredth; made up in steps of 4 KiB"
);
