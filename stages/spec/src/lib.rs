//! Words that recipes, disks and machines share: sizes and times, formats of images, parts of virtual machines, and their bounds.

pub mod bounds;
mod format;
pub mod hardware;
mod mac;
mod units;

pub use bounds::{LARGEST_DISK, MIB, SMALLEST_DISK};
pub use format::{Format, UnknownFormat};
pub use mac::{Mac, MacError};
pub use units::{ByteSize, UnitError, parse_duration};

/// Where a stage finds what ibuild gives it: its script, extra inputs, packages. In memory, never in the image.
pub const RUN_DIR: &str = "/run/ibuild";
