//! What a machine does to a store: kills, power cuts, full disks, rotten bits. Whatever happens, there is never a wrong
//! hit, nothing is lost but the unfinished stage, and there is one clear message.
//!
//! These tests need root, overlayfs, namespaces and loop devices. `IBUILD_NIGHTLY=1` gives the random ones a night's
//! time, `IBUILD_SEED=N` other numbers.

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
mod read_only;
mod together;
