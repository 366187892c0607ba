//! Release folders without the project that they are of: their index, checksums, signatures, and whether all of it fits together.

mod check;
mod edition;
mod folder;
mod index;
mod record;
mod signature;
mod signer;
mod sums;
mod version;

pub use check::{ReleaseCheck, check_release};
pub use edition::read_edition;
pub use folder::{Published, StagedRelease, sign_record};
pub use index::{Index, IndexedImage};
pub use record::read_record;
pub use signature::{Key, SignatureError};
pub use signer::{SignError, Signer};
pub(crate) use sums::{FileDigests, write_sums};
pub use version::{checked_version, describe_version};

/// Ends the name of a signed build record: DSSE, one envelope on a line, as verifiers of SLSA expect it.
pub(crate) const SIGNED_RECORD: &str = ".intoto.jsonl";
/// Ends the name of a build record.
pub(crate) const RECORD: &str = ".intoto.json";

/// The version of this program, and the commit that it was built from if whoever built it said so.
pub fn builder_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("IBUILD_COMMIT").map_or_else(|| version.to_owned(), |commit| format!("{version}+{commit}"))
}
