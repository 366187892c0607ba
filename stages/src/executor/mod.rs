//! The executor: resolves stages, finds what they made, runs them in sandboxes, and captures what they leave.

pub(crate) mod apt;
pub(crate) mod archives;
pub(crate) mod base;
pub(crate) mod context;
pub(crate) mod environment;
pub(crate) mod failed_state;
pub(crate) mod fetched;
pub(crate) mod leaks;
pub(crate) mod machine;
pub(crate) mod observer;
pub(crate) mod reports;
pub(crate) mod resolved;
pub(crate) mod second_run;
pub(crate) mod secrets;
pub(crate) mod shown;
pub(crate) mod space;
pub(crate) mod stage_executor;
pub(crate) mod stage_run;
