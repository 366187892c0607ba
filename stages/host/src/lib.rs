//! This machine, as far as builds meet it: user namespaces, host tools, and what overlays are mounted with.

pub mod overlay;
pub mod tool;
pub mod userns;
