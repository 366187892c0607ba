//! The machine that an image is meant for.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::uuid_text::uuid_text;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing, VmTexts};
use ibuild_spec::{ByteSize, Mac};

/// The machine an image is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vm {
    /// What hypervisors show it by; the image's name otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The UUID that it has, to VirtualBox and to its own system; derived from the image's name otherwise.
    #[serde(serialize_with = "uuid_text", skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
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
    pub nics: Vec<NetworkCard>,
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
    /// VirtualBox's extra data of the machine, by their keys: what `VBoxManage setextradata` would set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub virtualbox_extra: BTreeMap<String, String>,
    /// What is said about it to people.
    #[serde(flatten)]
    pub texts: VmTexts,
}

impl Default for Vm {
    /// One processor, 1 GiB, one card behind NAT, nothing shared with the host.
    fn default() -> Self {
        Self {
            name: None,
            uuid: None,
            cpus: 1,
            memory: ByteSize(1 << 30),
            vram: ByteSize(16 << 20),
            firmware: None,
            disk_bus: DiskBus::Sata,
            nics: vec![Nic::Nat.into()],
            audio: Audio::None,
            clipboard: Sharing::Disabled,
            drag_and_drop: Sharing::Disabled,
            rtc: Clock::Utc,
            boot_order: vec![BootDevice::Disk],
            virtualbox_extra: BTreeMap::new(),
            texts: VmTexts::default(),
        }
    }
}

/// A network card. As JSON it is the word of its network, or a table if it has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkCard {
    /// What it is plugged into.
    pub network: Nic,
    /// Its address; derived from the image's name and its place among the cards otherwise.
    pub mac: Option<Mac>,
}

impl From<Nic> for NetworkCard {
    fn from(network: Nic) -> Self {
        Self { network, mac: None }
    }
}

impl Serialize for NetworkCard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(mac) = &self.mac else { return self.network.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("network", &self.network)?;
        map.serialize_entry("mac", mac)?;
        map.end()
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
