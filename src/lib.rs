//! A content-addressed incremental build system for Debian-derived virtual machines.
//!
//! This is the facade for programs that build images without the command line: the crates by the names of what they
//! do. The program `ibuild` is a thin layer over them.

pub use ibuild_cache as cache;
pub use ibuild_graph as graph;
pub use ibuild_stages as stages;
