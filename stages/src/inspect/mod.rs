//! What people ask a store about stages: logs, contents, files, mounts, shells, and why things ran.

pub(crate) mod build_history;
pub(crate) mod inside;
pub(crate) mod logs;
pub(crate) mod mounted;
pub(crate) mod shell;
pub(crate) mod store_contents;
