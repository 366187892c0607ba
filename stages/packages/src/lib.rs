//! The package view: archives, their lock, and the caching proxy that serves apt.
//!
//! In reading order: what an archive is ([`Archive`]) and which state of it a project is built from ([`Lock`]);
//! the frozen view that answers for that state ([`ArchiveView`]); the fetcher that fills the store from a mirror
//! ([`Fetcher`]); the proxy that shows the view to the apt of a stage ([`Proxy`]); and the packages that
//! a system starts from ([`minbase`]).

mod address;
mod answer;
mod apt_conf;
mod apt_hooks;
mod apt_plan;
mod archive;
mod asked;
mod body;
mod bootstrap;
mod candidate;
mod connection;
#[cfg(test)]
mod differential;
mod download;
mod elsewhere;
mod error;
mod exchange;
mod fetch;
#[cfg(test)]
mod fuzz;
mod handed_out;
mod import;
mod kept;
mod live;
mod lock;
mod mirror;
mod proxy;
mod recent;
mod relay;
mod response;
mod roots;
mod seats;
mod server;
mod site;
mod source;
mod tables;
mod target;
mod tls;
mod tunnel;
mod verify;
mod view;

pub use apt_conf::{APT_CONF_PATH, CA_PATH, apt_conf};
pub use apt_plan::{Answers, Course, Plan, PlannedDeb, planned};
pub use archive::{Archive, DEBIAN_KEYRING, Origin, Pocket};
pub use asked::Asked;
pub use bootstrap::{RESOLVER, minbase};
pub use candidate::{DebRef, candidates};
pub use elsewhere::{Elsewhere, ElsewhereError};
pub use error::PackageError;
pub use exchange::{End, Exchange, ExchangeObserver, Sent, StageFetch, StageFetches, Verdict};
pub use fetch::{FetchError, FetchObserver, FetchReason, Fetcher, Patience, Unobserved, Upstream};
pub use import::{Imported, import};
pub use live::{Clients, Live, Network, NetworkError, Statistics};
pub use lock::{Lock, LockChange, LockError, LockedDeb, LockedRelease};
pub use mirror::{MirrorError, MirrorOverride, Mirrors, SourcesFile, read_sources};
pub use proxy::{LiveGuard, Proxy, ServeGuard};
pub use roots::{Acceptance, Staleness, glance, record};
pub use source::{InstalledPackage, SourceName, SourcePackage, installed, licences, source_packages};
pub use tls::{Authorities, AuthorityError, CertificateFault};
pub use tunnel::StageTls;
pub use verify::{Gpgv, Verified, Verifier, VerifyError};
pub use view::{ArchiveFile, ArchiveView, Lookup, Missing, PinnedPocket};
