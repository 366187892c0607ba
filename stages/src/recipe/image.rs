//! Images, the machines they run as, and tests of those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::names::{ImageName, MachineName, RootfsName, TestName};
use super::step::seconds;
use super::units::ByteSize;

/// A disk made of a rootfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its name, the first half of a target.
    pub name: ImageName,
    /// What it is made of.
    pub rootfs: RootfsName,
    /// What a target without a format means.
    pub formats: Vec<ImageFormat>,
    /// How the disk is laid out. An image without one can only be had as an archive of its files.
    pub disk: Option<Disk>,
    /// The machine it is meant for.
    pub vm: Vm,
}

/// A kind of file an image can be had as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageFormat {
    /// An appliance: description and disk in one tarball.
    Ova,
    /// VMware's stream-optimised disk.
    Vmdk,
    /// QEMU's disk.
    Qcow2,
    /// The bytes of the disk.
    Raw,
    /// The files without a disk.
    RootfsTarZst,
}

impl ImageFormat {
    /// All of them.
    pub const ALL: [ImageFormat; 5] = [
        ImageFormat::Ova,
        ImageFormat::Vmdk,
        ImageFormat::Qcow2,
        ImageFormat::Raw,
        ImageFormat::RootfsTarZst,
    ];

    /// Whether it holds a disk, and not only the files.
    pub fn needs_disk(self) -> bool {
        self != ImageFormat::RootfsTarZst
    }

    /// The second half of a target, and the extension of the file made for it.
    pub fn extension(self) -> &'static str {
        match self {
            ImageFormat::Ova => "ova",
            ImageFormat::Vmdk => "vmdk",
            ImageFormat::Qcow2 => "qcow2",
            ImageFormat::Raw => "raw",
            ImageFormat::RootfsTarZst => "rootfs.tar.zst",
        }
    }

    /// The format whose files end in `extension`.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.extension() == extension)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

impl Serialize for ImageFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.extension())
    }
}

/// How a disk is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// Its size as the machine sees it; a multiple of 512 bytes.
    pub size: ByteSize,
    /// What it boots with; at least one.
    pub firmware: BTreeSet<Firmware>,
    /// The UUID of the root file system; derived from the image's name otherwise.
    #[serde(serialize_with = "uuid_text")]
    pub fs_uuid: Option<Uuid>,
    /// Added to the kernel's command line.
    pub cmdline: Option<String>,
}

fn uuid_text<S: Serializer>(uuid: &Option<Uuid>, serializer: S) -> Result<S::Ok, S::Error> {
    uuid.map(|uuid| uuid.to_string()).serialize(serializer)
}

/// A way to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A boot sector.
    Bios,
    /// An EFI system partition.
    Uefi,
}

impl Firmware {
    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

/// The machine an image is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vm {
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: ByteSize,
    /// Network cards, in order.
    pub nics: Vec<Nic>,
}

impl Default for Vm {
    /// One processor, 1 GiB, one card behind NAT.
    fn default() -> Self {
        Self { cpus: 1, memory: ByteSize(1 << 30), nics: vec![Nic::Nat] }
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

/// A test that boots machines and watches them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MachineTest {
    /// Its name.
    pub name: TestName,
    /// The machines and the images they run; at least one.
    pub machines: BTreeMap<MachineName, ImageName>,
    /// A regular expression that a console has to show.
    pub expect: Option<String>,
    /// How long it may take.
    #[serde(rename = "timeout-seconds", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
}
