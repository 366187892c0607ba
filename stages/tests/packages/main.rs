//! The packages part against a fake mirror, and against the real one with the real apt.

mod apt;
mod archive;
mod client;
mod fetch;
mod proxy;
mod upstream;
