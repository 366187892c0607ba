//! The proxy that shows a view to the apt of a stage, or the mirrors to other machines.

pub(crate) mod access_record;
pub(crate) mod address;
pub(crate) mod body;
pub(crate) mod found;
pub(crate) mod live;
pub(crate) mod passthrough;
pub(crate) mod problem;
pub(crate) mod range;
pub(crate) mod response;
pub(crate) mod seats;
pub(crate) mod serve;
pub(crate) mod served_archive;
pub(crate) mod server;
pub(crate) mod target;
pub(crate) mod tunnel;
