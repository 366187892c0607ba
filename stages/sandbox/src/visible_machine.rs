//! The machine that a payload sees: what of kernel, clocks and host programs can read and images must not depend on.
//!
//! An inert value that is part of a [`SandboxView`](super::SandboxView), and so of every key. [`VisibleMachine::canonical`] is what
//! stages see unless somebody says otherwise; another one shows whether a stage's output depends on its machine.

mod hardware_files;
pub(super) mod proc_files;
pub(super) mod time_namespace;

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use ibuild_graph::Value;
use serde::{Deserialize, Serialize};

/// What a payload can read of the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisibleMachine {
    /// How the kernel calls itself.
    pub kernel: Kernel,
    /// Time since boot when the sandbox is made. The boot time that programs compute from it is that much before now.
    pub uptime: Duration,
    /// The processors that there are; without a number those of the host that ibuild may use.
    pub cpus: Option<NonZeroU32>,
    /// The size of memory; without one that of the host.
    pub memory: Option<MemorySize>,
    /// The space of every file system that has any.
    pub disk: DiskSpace,
    /// The order in which directories are listed.
    pub readdir: ReaddirOrder,
    /// The clock of the day.
    pub clock: Clock,
    /// The host name, at most 64 bytes.
    pub host_name: String,
    /// The permission bits that new files of the payload do not get: umask(2).
    pub umask: u32,
}

/// How a kernel calls itself: what `uname` says, and the files of `/proc` that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`, at most 64 bytes.
    pub release: String,
    /// `uname -v`, at most 64 bytes.
    pub version: String,
}

/// How large memory is. Three quarters of it are free whenever somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySize(
    /// In bytes.
    pub u64,
);

impl MemorySize {
    /// What is free, in bytes.
    pub fn free(self) -> u64 {
        self.0 - self.0 / 4
    }

    fn value(self) -> Value {
        i64::try_from(self.0).unwrap_or(i64::MAX).into()
    }
}

/// The space of a disk, which stays the same whatever is written. There is an inode for each 16 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpace {
    /// Its size, in bytes: less than 16 TiB, because programs of 32 bits count blocks.
    pub size: u64,
    /// What is free, in bytes, for root and for others. At most the size.
    pub free: u64,
}

impl DiskSpace {
    fn value(self) -> Value {
        let Self { size, free } = self;
        Value::List([size, free].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX).into()).to_vec())
    }
}

/// The order in which directories are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReaddirOrder {
    /// That of the file system of the store, which is another one on each.
    AsStored,
    /// By the bytes of the names.
    Sorted,
    /// By a hash of the names with this seed.
    Shuffled(u64),
}

impl ReaddirOrder {
    fn value(self) -> Value {
        match self {
            Self::AsStored => "as stored".into(),
            Self::Sorted => "sorted".into(),
            Self::Shuffled(seed) => Value::map([("shuffled", Value::Bytes(seed.to_le_bytes().to_vec()))]),
        }
    }
}

/// The clock of the day that programs read. Times of files are the host's, whatever it shows. Only on amd64 it can be another
/// than the host's, and not for programs that begin without a C library or a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// That of the host.
    Host,
    /// So many seconds ahead of that.
    Shifted(i64),
    /// When the sandbox is made it is this time, in seconds since 1970.
    StartsAt(i64),
}

impl Clock {
    /// What it shows when the sandbox is made, if the clock of the host shows `now`.
    pub fn shown(self, now: SystemTime) -> SystemTime {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.start(seconds).max(0) as u64)
    }

    /// What it shows when the sandbox is made, if the clock of the host shows `now`; both in seconds since 1970.
    pub(super) fn start(self, now: i64) -> i64 {
        match self {
            Self::Host => now,
            Self::Shifted(seconds) => now.saturating_add(seconds),
            Self::StartsAt(time) => time,
        }
    }

    fn value(self) -> Value {
        match self {
            Self::Host => "host".into(),
            Self::Shifted(seconds) => Value::map([("shifted", seconds.into())]),
            Self::StartsAt(time) => Value::map([("starts at", time.into())]),
        }
    }
}

/// As long as that of a kernel of Debian 13, with that system's kind of suffix, and with a part that no package of a kernel
/// has: scripts that look for files of the running kernel find none, as on any machine whose kernel is not that of the image.
const RELEASE: &str =
    if cfg!(target_arch = "aarch64") { "6.12.0-ibuild-arm64" } else { "6.12.0-ibuild-amd64" };

/// More than any program asks for before it begins, and few enough for a signed number of 32 bits that counts KiB.
const DISK: DiskSpace = DiskSpace { size: 1 << 40, free: 3 << 38 };

impl VisibleMachine {
    /// The one that every stage sees by default, whatever runs it.
    pub fn canonical() -> Self {
        Self {
            kernel: Kernel {
                release: RELEASE.to_owned(),
                version: "#1 SMP PREEMPT_DYNAMIC ibuild 6.12.0-1 (2024-11-17)".to_owned(),
            },
            uptime: Duration::from_secs(3600),
            cpus: None,
            memory: None,
            disk: DISK,
            readdir: ReaddirOrder::AsStored,
            clock: Clock::Host,
            host_name: super::HOST_NAME.to_owned(),
            umask: 0o022,
        }
    }

    /// The whole of it, for a key.
    pub(super) fn value(&self) -> Value {
        let Self { kernel, uptime, cpus, memory, disk, readdir, clock, host_name, umask } = self;
        let Kernel { release, version } = kernel;
        Value::map([
            ("kernel release", release.as_str().into()),
            ("kernel version", version.as_str().into()),
            ("uptime", duration(*uptime)),
            ("cpus", Value::option(cpus.map(|cpus| i64::from(cpus.get()).into()))),
            ("memory", Value::option(memory.map(MemorySize::value))),
            ("disk", disk.value()),
            ("readdir", readdir.value()),
            ("clock", clock.value()),
            ("host name", host_name.as_str().into()),
            ("umask", i64::from(*umask).into()),
        ])
    }
}

/// Seconds, and nanoseconds of the last one.
fn duration(duration: Duration) -> Value {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Value::List(vec![seconds.into(), i64::from(duration.subsec_nanos()).into()])
}
