//! An archive as a project has it: how it is declared and locked, the view that answers for the locked state, signed releases, the
//! choice of packages.

pub(crate) mod bootstrap;
pub(crate) mod candidate;
pub(crate) mod declared;
pub(crate) mod import;
pub(crate) mod lock;
pub(crate) mod lock_error;
pub(crate) mod pinned;
pub(crate) mod signed_file;
pub(crate) mod signed_release;
pub(crate) mod source;
pub(crate) mod tables;
pub(crate) mod verify;
pub(crate) mod view;
