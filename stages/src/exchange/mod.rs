//! Results on their way from one store to another: an archive that names everything in it by its digest.
//!
//! The archive is a manifest and the blobs that it names, in its order: a tar of plain entries, or a directory of files. Two exports of the same
//! results from one store are the same bytes.
//!
//! Import believes nothing that it can compute: a blob is named by its bytes, a layer by its uncompressed bytes, a tree by putting
//! the layer upon the tree of its parent, the file of an image by composing it. What remains is the claim that an action made this: no
//! program can compute that without running it, so a signature of the manifest says who claims it. Nothing is in the store before all of
//! it was checked.

mod export;
mod import;
mod import_error;
mod manifest;
mod received;
mod sink;
mod source;

pub use export::{Export, Exported, export};
pub use import::{Imported, Trust, import};
pub use import_error::ImportError;
pub use manifest::{ExportError, MANIFEST, Manifest, SIGNATURE};
pub use sink::Sink;
pub use source::Source;
