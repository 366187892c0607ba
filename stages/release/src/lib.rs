//! The documents of a release as functions of what is known of its images: checksums, package lists, bills of materials, the build
//! record, and what changed since an earlier release.
//!
//! None of them has a time but the project's epoch, nor anything else of the machine: whoever releases the same images writes
//! the same documents. What was written is read back by the same file that writes it, and nothing that is read is trusted: lines
//! and numbers are checked, and errors name the line.

mod changes;
mod cyclonedx;
mod dsse;
mod files;
mod image;
mod packages;
mod purl;
mod spdx;
mod statement;
mod sums;

pub use changes::{Changes, Edition, Size};
pub use cyclonedx::cyclonedx;
pub use dsse::{Envelope, EnvelopeError, PAYLOAD_TYPE, Signature, pre_authentication_encoding};
pub use files::{ListedFile, file_list, read_file_list};
pub use image::{ImageFacts, PackageFacts, ReleaseFacts, SourceFacts};
pub use packages::{ListedPackage, package_list, read_package_list, source_list};
pub use spdx::{bill_of, spdx};
pub use statement::{
    Dependency, DependencyDigest, RecordedImage, RecordedStage, Statement, StatementError, read_statement,
    statement,
};
pub use sums::{Sum, Sums, checksums, read_checksums};

/// A line of a list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}
