//! Snapshots of a root file system: a tree and the layers that make it.
//!
//! A stage leaves an overlay's upper directory behind. [`capture`](capture::capture) turns it into a [`Layer`]
//! and the [`TreeId`](ibuild_cache::TreeId) of the whole file system, at the cost of what the stage changed.

mod allocated;
mod canonical;
pub mod capture;
mod chain;
mod change;
mod copying;
mod damage;
pub mod depth;
pub mod device;
pub mod diff;
mod digest;
mod error;
mod eviction;
mod fiemap;
pub mod files;
pub mod flat;
#[cfg(test)]
mod golden;
mod holes;
mod inode_digests;
mod inode_flags;
mod layer_groups;
pub mod layer_index;
pub mod layers;
mod links;
mod links_followed;
mod node_copy;
mod prefetch;
mod settle;
mod shape;
mod tarball;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod unpack;
pub mod volatile;
mod xattr;

pub use allocated::parts;
pub use chain::Snapshot;
pub use change::Change;
pub use copying::{Copying, SourceRoot, copy_verified};
pub use digest::{content_of, hash_bytes, open_file};
pub use error::SnapshotError;
pub use eviction::Trimmed;
pub use layers::{Layer, LayerStore};
pub use node_copy::{copy_node, dress};
pub use shape::{ChainShape, OwnLayer, Shape};
pub use tarball::TARBALL_WRITER;
pub use tree::{Entry, Kind, Listing, Metadata, PackedListing, RecentTrees, TreeStore};
pub use xattr::{Side, copy_xattrs, read as read_xattrs};
