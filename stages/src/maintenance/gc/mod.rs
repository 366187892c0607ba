//! Garbage collection: what no root needs goes, and under a budget more.
//!
//! In reading order: an [`Inventory`] says what is in a store, as data; [`plan`] decides about it without touching
//! anything; [`apply`] does what was decided. Results are only ever removed as wholes, a result before what it was made
//! of, and each can be made again: the worst that garbage collection can do is to cost time.

mod apply;
mod decision;
mod inventory;
mod plan;
mod rank;
mod roots;
#[cfg(test)]
mod tests;

pub use apply::{Collected, apply};
pub use decision::{GcPlan, Packages, Policy, Removal, Shortfall, Thing, Why};
pub use inventory::{
    HeldLayer, HeldPackage, HeldPath, HeldResult, HeldSpare, HeldUnpacked, Inventory, LastRunRow,
};
pub use plan::plan;
pub use roots::Root;
