//! A file that a recipe names: its digest says what it has to be, and addresses where to look.

use ibuild_cache::Sha256;
use ibuild_debian::Url;

/// A file that a recipe names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedFile {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Where it may be, in the order in which to ask.
    pub urls: Vec<Url>,
}
