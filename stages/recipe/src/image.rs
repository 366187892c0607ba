//! Images, and appliances of several machines.

use std::collections::BTreeSet;

use serde::Serialize;
use uuid::Uuid;

pub use ibuild_spec::Format as ImageFormat;

use super::names::{ImageName, RootfsName};
use super::uuid_text::uuid_text;
use super::vm::Vm;
use ibuild_spec::ByteSize;
use ibuild_spec::hardware::Firmware;

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

/// How a disk is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// Its size as the machine sees it; whole mebibytes that a disk can have.
    pub size: ByteSize,
    /// What it boots with; at least one.
    pub firmware: BTreeSet<Firmware>,
    /// The UUID of the disk: of its partition table, and of the medium that it is to VirtualBox. Both derive from the image's
    /// name otherwise.
    #[serde(serialize_with = "uuid_text", skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// The UUID of the root file system; derived from the image's name otherwise.
    #[serde(serialize_with = "uuid_text")]
    pub fs_uuid: Option<Uuid>,
    /// Added to the kernel's command line.
    pub cmdline: Option<String>,
}

impl Image {
    /// What its machine starts with: what the recipe says; else the BIOS, which hypervisors start with if they are told
    /// nothing, where the disk has it.
    pub fn firmware(&self) -> Firmware {
        let of_disk = || self.disk.as_ref().and_then(|disk| disk.firmware.first().copied());
        self.vm.firmware.or_else(of_disk).unwrap_or(Firmware::Bios)
    }
}

/// Several machines in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appliance {
    /// Its name, the first half of a target.
    pub name: ImageName,
    /// The images in it, in order, each once; at least one. Each has a disk.
    pub machines: Vec<ImageName>,
    /// What a target without a format means. Not all formats hold several machines.
    pub formats: Vec<ImageFormat>,
}
