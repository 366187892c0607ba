//! What of the machine is another one when a stage runs once more.
//!
//! Stages see the same disk, kernel, boot time, host name and umask on each machine. So [`Variation::MACHINES`], which is what
//! `--vary all` means, has what two machines can differ in, and the disk, from whose size programs derive those of files; the
//! others show on request what a script would write down.

use std::num::NonZeroU32;
use std::time::Duration;

use ibuild_compare::Cause;

use crate::sandbox::{Clock, DiskSpace, MemorySize, ReaddirOrder, VisibleMachine};

/// Something that is another one in the second run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variation {
    /// The time of the day.
    Clock,
    /// The order in which directories are listed.
    Readdir,
    /// The number of processors.
    Cpus,
    /// The size of memory.
    Memory,
    /// The size of the disk, and what is free of it.
    Disk,
    /// The kernel's release and version.
    Kernel,
    /// The time since boot.
    Uptime,
    /// The host name.
    HostName,
    /// The umask.
    Umask,
}

/// Nobody has a machine with so many.
const CPUS: NonZeroU32 = NonZeroU32::new(13).expect("13 is not 0");

/// Nor with so much, in bytes.
const MEMORY: MemorySize = MemorySize(11 << 30);

/// Still more than any program asks for, in other digits; in bytes.
const DISK: DiskSpace = DiskSpace { size: 411 << 30, free: 257 << 30 };

/// Far enough that day, month, year and the digits of the seconds are others, and not so far that signatures and
/// certificates of archives end: 400 days, 6 hours and 13 minutes. In seconds.
const AHEAD: i64 = 400 * 86_400 + 6 * 3600 + 13 * 60;

/// Any order that no file system has by chance.
const SEED: u64 = 0x1b87_3593_cc9e_2d51;

impl Variation {
    /// All of them, with their words.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("clock", Self::Clock),
        ("readdir", Self::Readdir),
        ("cpus", Self::Cpus),
        ("memory", Self::Memory),
        ("disk", Self::Disk),
        ("kernel", Self::Kernel),
        ("uptime", Self::Uptime),
        ("host-name", Self::HostName),
        ("umask", Self::Umask),
    ];

    /// What two machines that build the same recipe can differ in, and the disk.
    pub const MACHINES: &'static [Self] = &[Self::Clock, Self::Readdir, Self::Cpus, Self::Memory, Self::Disk];

    /// Its word.
    pub fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(_, variation)| *variation == self);
        known.expect("every variation has a word").0
    }

    /// What a difference comes from that it brings about.
    pub(super) fn cause(self) -> Option<Cause> {
        match self {
            Self::Clock => Some(Cause::Clock),
            Self::Readdir => Some(Cause::DirectoryOrder),
            Self::Cpus => Some(Cause::Cpus),
            Self::Memory => Some(Cause::Memory),
            Self::Disk => Some(Cause::DiskSpace),
            Self::Kernel => Some(Cause::Kernel),
            Self::Uptime => Some(Cause::Uptime),
            Self::HostName => Some(Cause::HostName),
            Self::Umask => None,
        }
    }

    /// Changes the machine that a stage sees. What the recipe fixes for a step is the same on each machine, and stays.
    pub(crate) fn apply(self, machine: &mut VisibleMachine) {
        match self {
            Self::Readdir if machine.readdir == ReaddirOrder::AsStored => {
                machine.readdir = ReaddirOrder::Shuffled(SEED);
            }
            Self::Cpus if machine.cpus.is_none() => machine.cpus = Some(CPUS),
            Self::Memory if machine.memory.is_none() => machine.memory = Some(MEMORY),
            Self::Clock if machine.clock == Clock::Host => machine.clock = Clock::Shifted(AHEAD),
            Self::Clock | Self::Readdir | Self::Cpus | Self::Memory => {}
            Self::Disk => machine.disk = DISK,
            Self::Kernel => {
                "6.99.0-varied".clone_into(&mut machine.kernel.release);
                "#99 SMP varied (2031-02-03)".clone_into(&mut machine.kernel.version);
            }
            Self::Uptime => machine.uptime += Duration::from_secs(12_345_678),
            Self::HostName => "varied".clone_into(&mut machine.host_name),
            Self::Umask => machine.umask = 0o027,
        }
    }
}
