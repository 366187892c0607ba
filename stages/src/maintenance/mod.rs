//! What goes out of a store and what is mended in it.

pub(crate) mod forget;
pub(crate) mod fsck;
pub mod gc;
