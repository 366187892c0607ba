//! Tells the crate which release of libdeflate it is linked with. The library itself has no function that says so, and its
//! bytes are named by it.

use std::path::Path;
use std::{env, fs};

/// The package that has the library's source: its release is another whenever that is.
const PACKAGE: &str = "libdeflate-sys";

#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is how Cargo and a build script speak to each other"
)]
fn main() {
    let crate_dir = env::var("CARGO_MANIFEST_DIR").expect("Cargo says where the crate is");
    let lock = Path::new(&crate_dir).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(&lock).expect("the workspace has a lock");
    println!("cargo::rustc-env=LIBDEFLATE_RELEASE={}", release_of(PACKAGE, &text));
}

/// The release of a package in a lock that has it once: of two it would not be known which one compresses.
fn release_of<'l>(package: &str, lock: &'l str) -> &'l str {
    let name = format!("name = \"{package}\"");
    let packages = lock.split("[[package]]").filter(|entry| entry.lines().any(|line| line == name));
    let [entry] = packages.collect::<Vec<_>>()[..] else { panic!("`{package}` is not in the lock once") };
    let mut releases = entry.lines().filter_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    releases.next_back().expect("a package in a lock has a release")
}
