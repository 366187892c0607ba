//! What can be fetched.

use ibuild_debian::{Base, Known};

/// A file of the archive: what it has to be, and where a mirror has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// The part of the archive it belongs to.
    pub base: Base,
    /// Paths under the base, the surest first: all of them name the same bytes.
    pub paths: Vec<String>,
    /// What it has to be.
    pub known: Known,
}

impl ArchiveFile {
    /// The path that people know it by.
    pub fn path(&self) -> &str {
        self.paths.last().map_or("", String::as_str)
    }
}
