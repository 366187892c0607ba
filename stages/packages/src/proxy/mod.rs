//! The proxy that shows a view to the apt of a stage, or the mirrors to other machines.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod found;
pub(crate) mod live;
pub(crate) mod problem;
pub(crate) mod relay;
pub(crate) mod response;
pub(crate) mod seats;
pub(crate) mod serve;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod target;
pub(crate) mod tunnel;
