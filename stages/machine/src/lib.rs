//! Runs a finished image as a virtual machine, to see whether it starts: QEMU, its serial console, a picture.
//!
//! The image is never written to, the machine reaches no network unless told to, and it does not outlive
//! the process that started it.

mod command;
mod console;
mod error;
mod image;
mod options;
mod qemu;
mod qmp;
mod run;
mod timers;
pub mod trial;

pub use console::ConsoleSink;
pub use error::MachineError;
pub use options::{Accelerator, Cable, MachineNic, MachineOptions, NicModel};
pub use qemu::{Ovmf, Qemu};
pub use regex::Regex;
pub use run::{BootReport, Machine, boot_until};
