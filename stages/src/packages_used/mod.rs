//! Which packages stages were made of, and whether another state of the archive would have made the same.

pub(crate) mod evidence;
pub(crate) mod observed;
pub(crate) mod outlook;
pub(crate) mod unmoved;
