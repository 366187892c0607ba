//! The apt of a stage: what it is told, what it would install, and what it has asked the proxy for.

pub(crate) mod conf;
pub(crate) mod hooks;
pub(crate) mod plan;
pub(crate) mod request_trace;
