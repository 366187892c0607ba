//! Snapshots of a root file system: a tree and the layers that make it.
//!
//! A stage leaves an overlay's upper directory behind. [`capture`](capture::capture) turns it into a [`Layer`]
//! and the [`TreeId`](ibuild_cache::TreeId) of the whole file system, at the cost of what the stage changed.

mod ahead;
mod allocated;
pub mod capture;
mod chain;
mod contents;
mod copying;
pub(crate) mod depth;
pub(crate) mod device;
pub mod diff;
mod digest;
mod error;
mod fiemap;
pub mod files;
pub mod flat;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod golden;
pub(crate) mod held;
mod holes;
#[cfg(test)]
mod hot_cold;
mod inode_flags;
pub mod layers;
mod links;
mod links_followed;
mod merged;
mod node_copy;
mod room;
mod settle;
mod tarball;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod unpack;
pub mod volatile;
mod xattr;

pub(crate) use allocated::parts;
pub use chain::Snapshot;
pub(crate) use copying::{Copying, SourceRoot, copy_verified};
pub(crate) use digest::{content_of, hash_bytes, open_file};
pub use error::SnapshotError;
pub use layers::{Layer, LayerStore};
pub(crate) use node_copy::{copy_node, dress};
pub use room::Trimmed;
pub use tarball::TARBALL_WRITER;
pub use tree::{Entry, Kind, Listing, Metadata, PackedListing, RecentTrees, TreeStore};
#[cfg(test)]
pub(crate) use xattr::read as read_xattrs;
pub(crate) use xattr::{Side, copy_xattrs};
