//! What a machine does to a store: kills, power cuts, full disks, rotten bits. Whatever happens, there is never a wrong
//! hit, nothing is lost but the unfinished stage, and there is one clear message.
//!
//! These tests need root, overlayfs, namespaces and loop devices. `IBUILD_NIGHTLY=1` gives the random ones a night's
//! time, `IBUILD_SEED=N` other numbers.

mod archive;
mod chance;
mod collection;
mod damage;
mod edits;
mod full_disk;
mod images;
mod kill;
mod lab;
mod mounts;
mod power_cut;
mod proxy;
mod read_only;
#[path = "../harness/running.rs"]
mod running;
#[path = "../harness/signer.rs"]
mod signer;
mod together;

/// The mirror that the tests of packages use.
#[allow(dead_code, reason = "not every way to misbehave is of use here")]
#[path = "../../stages/packages/tests/packages/upstream.rs"]
mod upstream;
