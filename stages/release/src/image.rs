//! What is known of a release and its images.

use std::collections::BTreeSet;

use crate::ListedFile;

/// What all documents of a release say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The project's name.
    pub project: String,
    /// The release's version.
    pub version: String,
    /// The project's epoch, seconds since 1970: the time of all documents.
    pub epoch: u64,
    /// The version of ibuild, with its commit if it is known.
    pub builder: String,
}

/// An image and what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// The file's name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Digests of its bytes, in hexadecimal.
    pub sha256: String,
    /// The same by SHA-512.
    pub sha512: String,
    /// The same by BLAKE3.
    pub blake3: String,
    /// The packages that dpkg has installed, of all its machines, sorted.
    pub packages: Vec<PackageFacts>,
    /// The source packages that they are built from.
    pub sources: Vec<SourceFacts>,
    /// All files, sorted by path. Paths of an image with several machines begin with the machine: `gateway:/etc/passwd`.
    pub files: Vec<ListedFile>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture it is for, or `all`.
    pub architecture: String,
    /// The source package that it is built from.
    pub source: String,
    /// The version of that.
    pub source_version: String,
    /// The licences that its copyright file names, in Debian's words.
    pub licences: BTreeSet<String>,
    /// The .deb that the lock has of it: SHA-256 in hexadecimal, and its address. Nothing if it is not from an archive.
    pub deb: Option<(String, String)>,
    /// Whether it is from Debian's own archive.
    pub is_debians: bool,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The licences that its packages name.
    pub licences: BTreeSet<String>,
    /// Where its description (`.dsc`) is, if that is known.
    pub url: Option<String>,
    /// Its packages that are installed.
    pub packages: BTreeSet<String>,
}
