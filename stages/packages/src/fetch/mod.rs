//! Mirrors, and what comes from them: connections, downloads that are joined, other places where files may be, and what of all that
//! is kept.

pub(crate) mod archive_file;
pub(crate) mod certificate;
pub(crate) mod connect_error;
pub(crate) mod connection;
pub(crate) mod content;
pub(crate) mod download;
pub(crate) mod fallback_sources;
pub(crate) mod fetch_error;
pub(crate) mod fetcher;
pub(crate) mod memory_cache;
pub(crate) mod mirror;
pub(crate) mod observer;
pub(crate) mod patience;
pub(crate) mod pinned_download;
pub(crate) mod pinned_error;
pub(crate) mod pinned_file;
pub(crate) mod progress;
pub(crate) mod resume_guard;
pub(crate) mod shared;
pub(crate) mod tls;
pub(crate) mod turns;
pub(crate) mod upstream;
pub(crate) mod verified_store;
