//! Debian's formats, as pure functions of bytes: how things are called, where archives are, and what Release files, indices,
//! packages and keyrings say. There is no network here and no store.
//!
//! Sources: deb822(5), deb(5), deb-control(5), deb-version(7), dsc(5), sources.list(5), and
//! <https://wiki.debian.org/DebianRepository/Format>; keyrings by RFC 9580.

mod base;
pub mod compression;
pub mod deb;
pub mod deb822;
pub mod dependency;
pub mod index;
mod keyring;
mod name;
mod openpgp;
pub mod release;
mod signature;
mod suite;
mod time;
mod url;
pub mod version;

pub use base::{Base, debian_addresses, is_debians};
pub use deb::{DebError, FieldError, Identity, IdentityError, Member, identify, needs, open_deb, read_deb};
pub use index::IndexError;
pub use keyring::{Keyring, KeyringError};
pub use name::{Name, NameError};
pub use release::{IndexFile, Known, Preference, Release, ReleaseError};
pub use signature::{DetachedSignature, SignatureFormError};
pub use suite::Suite;
pub use time::{ParseTimeError, Timestamp};
pub use url::{Scheme, Url, UrlError, decode};
pub use version::{Version, VersionError, compare as compare_versions};
