//! Reproducibility: runs stages once more from what is in the store, and compares what they make with what they made.
//!
//! Each stage starts from its *cached* parent, so a difference in one says nothing about those after it, and stages can run side
//! by side. What a second run makes is looked at and thrown away.

mod different_file;
mod stage;

pub use different_file::{Aspect, DifferentFile};
pub use stage::{StageVerdict, Verified, verify_stage};
