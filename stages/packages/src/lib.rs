//! The package view: archives, their lock, and the caching proxy that serves apt.
//!
//! In reading order: what an archive is ([`Archive`]) and which state of it a project is built from ([`Lock`]);
//! the frozen view that answers for that state ([`ArchiveView`]); the fetcher that fills the store from a mirror
//! ([`Fetcher`]); the proxy that shows the view to the apt of a stage ([`Proxy`]); and the packages that
//! a system starts from ([`minbase`]).

mod apt;
mod archive;
#[cfg(test)]
mod differential;
mod error;
mod fetch;
#[cfg(test)]
mod fuzz;
mod proxy;

pub use apt::conf::{APT_CONF_PATH, CA_PATH, apt_conf};
pub use apt::plan::{Answers, Course, Plan, PlannedDeb, planned};
pub use apt::request_trace::RequestTrace;
pub use archive::bootstrap::{RESOLVER, minbase};
pub use archive::candidate::{DebRef, candidates};
pub use archive::declared::{Archive, DEBIAN_KEYRING, Origin, Pocket};
pub use archive::import::{Imported, import};
pub use archive::lock::{Lock, LockChange, LockedDeb, LockedRelease};
pub use archive::lock_error::LockError;
pub use archive::pinned::PinnedPocket;
pub use archive::signed_file::{SignedFile, SignedFileError};
pub use archive::signed_release::{Acceptance, Staleness, probe, record};
pub use archive::source::{
    InstalledPackage, SourceName, SourcePackage, installed, licences, source_packages,
};
pub use archive::verify::{Gpgv, Verified, Verifier, VerifyError};
pub use archive::view::{ArchiveView, Lookup, Missing};
pub use error::PackageError;
pub use fetch::archive_file::ArchiveFile;
pub use fetch::certificate::{AuthorityError, CertificateFault};
pub use fetch::fallback_sources::{FallbackError, FallbackSources};
pub use fetch::fetch_error::{FetchError, FetchReason};
pub use fetch::fetcher::Fetcher;
pub use fetch::mirror::{MirrorError, MirrorOverride, Mirrors, SourcesFile, read_sources};
pub use fetch::observer::{FetchEnd, FetchObserver, NullFetchObserver};
pub use fetch::patience::Patience;
pub use fetch::pinned_error::{PinnedError, PinnedReason};
pub use fetch::pinned_file::PinnedFile;
pub use fetch::tls::Authorities;
pub use fetch::upstream::Upstream;
pub use proxy::access_record::{
    AccessObserver, AccessRecord, CacheStatus, End, Sent, StageFetch, StageFetches,
};
pub use proxy::live::{Clients, LiveArchive, Network, NetworkError, Statistics};
pub use proxy::serve::{LiveGuard, Proxy, ServeGuard};
pub use proxy::tunnel::StageTls;
