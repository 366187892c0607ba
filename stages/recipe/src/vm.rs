//! The machine that an image is meant for.

use std::fmt;

use serde::{Serialize, Serializer};

use ibuild_spec::ByteSize;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing, VmTexts};

/// The machine an image is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vm {
    /// Processors.
    pub cpus: u32,
    /// Memory, a multiple of 1 MiB.
    pub memory: ByteSize,
    /// Video memory, a multiple of 1 MiB.
    pub vram: ByteSize,
    /// What the machine starts with; one that its disk is made for. If nothing is said, the BIOS where the disk has it.
    pub firmware: Option<Firmware>,
    /// What the disk is attached to.
    pub disk_bus: DiskBus,
    /// Network cards, in order.
    pub nics: Vec<Nic>,
    /// The sound card.
    pub audio: Audio,
    /// What is shared of clipboards.
    pub clipboard: Sharing,
    /// What can be dragged between the windows of the machine and of its host.
    pub drag_and_drop: Sharing,
    /// What the hardware clock tells.
    pub rtc: Clock,
    /// What it starts from, in this order, each once; at least one.
    pub boot_order: Vec<BootDevice>,
    /// What is said about it to people.
    #[serde(flatten)]
    pub texts: VmTexts,
}

impl Default for Vm {
    /// One processor, 1 GiB, one card behind NAT, nothing shared with the host.
    fn default() -> Self {
        Self {
            cpus: 1,
            memory: ByteSize(1 << 30),
            vram: ByteSize(16 << 20),
            firmware: None,
            disk_bus: DiskBus::Sata,
            nics: vec![Nic::Nat],
            audio: Audio::None,
            clipboard: Sharing::Disabled,
            drag_and_drop: Sharing::Disabled,
            rtc: Clock::Utc,
            boot_order: vec![BootDevice::Disk],
            texts: VmTexts::default(),
        }
    }
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nic {
    /// The host's network, behind its address.
    Nat,
    /// A network among machines, by name.
    Internal(String),
    /// Nothing.
    None,
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nic::Nat => f.write_str("nat"),
            Nic::Internal(network) => write!(f, "internal:{network}"),
            Nic::None => f.write_str("none"),
        }
    }
}

impl Serialize for Nic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
