//! The root file system: an ext4 in the last partition of a disk, filled from a flat tar.

mod mke2fs;
mod tool;
mod xattrs;

use std::ops::Range;
use std::path::Path;

pub use mke2fs::Mke2fs;
pub use tool::MkfsTool;

use super::error::DiskError;
use super::spec::DiskSpec;

/// A file system to be written.
#[derive(Debug)]
pub struct FilesystemJob<'a> {
    /// Flat, uncompressed PAX tar of the whole root file system: every directory has an entry of its own
    /// before its children, extended attributes are `SCHILY.xattr.*` records.
    pub root_tar: &'a Path,
    /// The raw disk, already of its full size.
    pub disk: &'a Path,
    /// The bytes of the disk that the file system covers.
    pub range: Range<u64>,
    /// The disk's description: UUID, epoch, name.
    pub spec: &'a DiskSpec,
    /// An empty directory for intermediate files.
    pub scratch: &'a Path,
}

/// Writes a root file system into a disk. The same job gives the same bytes.
pub trait FilesystemWriter {
    /// Names the writer and its version. It belongs into the key of whatever is made with it.
    fn identity(&self) -> String;

    /// Writes the file system. What it does not write it leaves a hole.
    fn write(&self, job: &FilesystemJob<'_>) -> Result<(), DiskError>;
}
