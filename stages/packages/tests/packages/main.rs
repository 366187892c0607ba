//! The packages part against a fake mirror, and against the real one with the real apt.

#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

mod apt;
mod archive;
mod client;
mod fallback_sources;
mod faults;
mod fetch;
mod interleavings;
mod live;
mod pinned;
mod proxy;
mod secure;
mod signed;
#[path = "../../../../tests/harness/signer.rs"]
mod signer;
mod tls;
mod tunnel;
mod upstream;
