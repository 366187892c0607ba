//! How deep a tree may be. Deeper ones are refused when they are captured, so whoever goes through a tree later needs no
//! more stack than every thread has, and can name each file to the kernel, wherever the store is.

use std::path::PathBuf;

use super::SnapshotError;

/// Directories within each other. Trees that people use have a few dozen.
pub const MOST_LEVELS: usize = 128;

/// Bytes of a path from the root on: what the kernel takes, less a KiB for where a layer is unpacked.
pub const MOST_BYTES: usize = 3 << 10;

/// Refuses a path that no tree can hold.
pub(super) fn check(path: &[u8]) -> Result<(), SnapshotError> {
    use std::os::unix::ffi::OsStrExt;
    let named = || PathBuf::from(std::ffi::OsStr::from_bytes(path));
    if path.len() > MOST_BYTES {
        return Err(SnapshotError::TooLong { path: named(), most: MOST_BYTES });
    }
    if path.iter().filter(|byte| **byte == b'/').count() > MOST_LEVELS {
        return Err(SnapshotError::TooDeep { path: named(), most: MOST_LEVELS });
    }
    Ok(())
}
