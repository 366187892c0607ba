//! System calls of a payload that init answers in the kernel's place.
//!
//! A seccomp filter stops these calls and no others; the rest do not even notice it. The filter is that of the payload and of
//! all that it starts, and the kernel lets a process have one such filter only, so all emulations share it and the one
//! thread of init that listens. What cannot be answered ends the stage: see `listener.rs`.

pub(super) mod caller;
#[cfg(target_arch = "x86_64")]
pub(super) mod clock;
pub(super) mod cpus;
#[cfg(target_arch = "x86_64")]
mod deadlines;
pub(super) mod device_nodes;
pub(super) mod disk_space;
mod entries;
pub(super) mod filter;
pub(super) mod kernel_name;
pub(super) mod listener;
pub(super) mod memory_size;
mod place;
pub(super) mod readdir;
#[cfg(target_arch = "x86_64")]
mod vdso;
#[cfg(target_arch = "x86_64")]
mod vdso_patch;

use std::io;

use caller::Caller;

/// Some calls, and what is answered.
pub(super) trait Emulation: Send {
    /// The calls. No two emulations have one in common.
    fn stops(&self) -> Vec<Stop>;

    /// What the caller gets. An error is the call's own, with the number that the system gave it.
    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer>;
}

/// What is to come of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It succeeds and gives this number.
    Value(i64),
    /// The kernel does it, or refuses it.
    LeaveToKernel,
    /// The machine cannot be shown to this program, for this reason. The stage ends here.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only clocks can fail"))]
    Impossible(String),
}

/// The kind of a program, which decides what its calls' numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Programs {
    /// Of the machine.
    Native,
    /// Of i386, on a kernel for amd64.
    #[cfg(target_arch = "x86_64")]
    I386,
}

/// A call that is stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Whose.
    pub(super) programs: Programs,
    /// Its number.
    pub(super) call: u32,
    /// With what arguments.
    pub(super) when: When,
}

/// What a call's arguments have to be for it to be stopped.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// Anything.
    Always,
    /// This one is one of these numbers.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only clocks need it"))]
    OneOf(u32, &'static [u32]),
    /// This one has one of these bits.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only clocks need it"))]
    HasBit(u32, u32),
    /// This one is the mode of a character or block device.
    MakesDevice(u32),
}

/// A call that was stopped.
pub(super) struct Call<'c> {
    /// Whose.
    pub(super) programs: Programs,
    /// Its number.
    pub(super) number: u32,
    /// As the kernel takes them: of a program of 32 bits, the lower halves.
    pub(super) arguments: [u64; 6],
    /// The thread that called, and waits.
    pub(super) caller: &'c Caller,
}
