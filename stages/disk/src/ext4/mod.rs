//! The root file system: an ext4 in the last partition of a disk.
//!
//! [`filesystem`] describes one as a function of the layers that make it, so that what earlier layers brought stays where
//! it is when a later one changes. Reading order: `geometry` (what follows from the size), `tree` (what the layers make),
//! `place` (who gets which blocks), `write` (what becomes of that as bytes). Tests compare with what
//! `mke2fs -d` makes of the same files.

mod attrs;
mod base;
mod build;
mod bytes;
mod crc;
mod dirs;
mod extents;
mod geometry;
mod hash;
mod inode;
mod journal;
#[cfg(test)]
mod mke2fs;
mod place;
mod resize;
mod space;
mod superblock;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool;
mod tree;
mod usage;
mod write;
#[cfg(test)]
mod xattrs;

#[cfg(test)]
use std::ops::Range;
#[cfg(test)]
use std::path::Path;

pub use build::filesystem;
#[cfg(test)]
pub use mke2fs::Mke2fs;
#[cfg(test)]
pub use tool::MkfsTool;

use uuid::Uuid;

#[cfg(test)]
use super::error::DiskError;
use super::gpt::Role;
use super::spec::DiskSpec;

/// Changes when the same layers and options give other bytes. Belongs into the key of whatever holds a file system.
pub const EXT4_WRITER: &str = "ibuild-ext4 2";

/// The inode that is the journal.
const JOURNAL_INODE: u32 = 8;

/// What a file system is besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemOptions {
    /// The image's name, for messages.
    pub image: String,
    /// The first of its bytes on the disk, a multiple of a grain.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// Its UUID.
    pub uuid: Uuid,
    /// The seed of the hash that orders large directories.
    pub hash_seed: Uuid,
    /// The time of everything that has no other, seconds since 1970.
    pub epoch: i64,
}

impl FilesystemOptions {
    /// The root file system of a disk.
    pub fn of(spec: &DiskSpec) -> Self {
        let range = Role::Root.range(spec.size);
        Self {
            image: spec.name.clone(),
            start: range.start,
            size: range.end - range.start,
            uuid: spec.fs_uuid,
            hash_seed: spec.identity().hash_seed(),
            epoch: spec.epoch as i64,
        }
    }
}

/// A file system to be written by the reference.
#[cfg(test)]
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

/// Writes a root file system into a disk, for comparison. The same job gives the same bytes.
#[cfg(test)]
pub trait FilesystemWriter {
    /// Writes the file system. What it does not write it leaves a hole.
    fn write(&self, job: &FilesystemJob<'_>) -> Result<(), DiskError>;
}
