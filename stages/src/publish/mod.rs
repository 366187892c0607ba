//! Finished files on their way to `out/`: made of what the store has, over what was there before, whole or not at all.

pub(crate) mod outputs;
pub(crate) mod pending_artifacts;
pub(crate) mod place;
pub(crate) mod plain;
pub(crate) mod previous_output;
pub(crate) mod reach;
pub(crate) mod restore;
