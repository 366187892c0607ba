//! This machine, as far as builds meet it: user namespaces, host tools, what overlays are mounted with, and files
//! that may be anything.

pub mod bounded;
pub mod overlay;
pub mod tool;
pub mod userns;
