//! Trials: the machine tests of a recipe, done.
//!
//! In reading order: `wiring` says which cable goes where, `files` makes the disk with what the machines get to see,
//! `guest` logs in and runs commands, `pcap` counts what was recorded, `run` is the trial
//! from power on to the verdict, and `running` what happens in between.

mod error;
mod files;
mod guest;
mod pcap;
mod run;
mod running;
mod wiring;

pub use error::TrialError;
pub use files::file_digests;
pub use pcap::{Frames, read_frames};
pub use run::{Trial, TrialImage, TrialObserver};
