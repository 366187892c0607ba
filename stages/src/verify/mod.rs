//! Reproducibility: runs stages once more from what is in the store, and compares what they make with what they made.
//!
//! Each stage starts from its *cached* parent, so a difference in one says nothing about those after it, and stages can run side
//! by side. What a second run makes is looked at and thrown away.
//!
//! A plain second run shows what differs by itself: random numbers, the clock, the order in which processes end. Where the
//! machine is to be varied, a third run has everything varied at once. Only if that makes further files differ, two more plain
//! runs rule out chance, and one run for each variation tells which of them does it. So a reproducible stage costs two runs, however much is varied.

mod different_file;
mod stage;
pub(crate) mod variation;

pub use different_file::{Aspect, DifferentFile};
pub use stage::{StageVerdict, Verified, VerifyOptions, verify_stage};
pub use variation::Variation;
