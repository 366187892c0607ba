//! Which packages stages were made of, and whether another state of the archive would have made the same.

pub(crate) mod archive_equivalence;
pub(crate) mod lock_update;
pub(crate) mod observed;
pub(crate) mod package_usage;
