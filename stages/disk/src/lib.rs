//! Disks and their formats: partition table, boot loader, file system, VMDK, OVF, OVA, qcow2, VDI; and OCI images, which have none.
//!
//! The layers of a snapshot become the description of a file system ([`filesystem`]), that becomes the description of a
//! disk ([`disk_map`]), and that becomes what people download ([`pack()`]), grain by grain ([`collect`]). Nothing needs
//! root, a loop device or a mount, and the same input gives the same bytes. What can change bytes has a version, for keys:
//! [`disk_identity`] and [`packer_identity`].

mod artifact;
mod boot;
#[cfg(test)]
mod check;
mod chunks;
mod compose;
mod digest;
mod disk_reader;
mod error;
mod ext4;
#[cfg(test)]
mod golden;
mod gpt;
mod grains;
mod identity;
#[cfg(test)]
mod lab;
mod map;
mod oci;
mod ova;
mod pack;
mod qcow2;
mod raw;
mod raw_zst;
mod rope;
mod rows;
#[cfg(test)]
mod sparse;
mod spec;
mod subtrees;
mod time;
mod ustar;
mod vdi;
mod vmdk;
mod whole;

pub use artifact::PackedArtifact;
pub use boot::{BiosBoot, BootFiles, GrubPlan};
pub use compose::{Destination, Made, compose_file};
pub use digest::Digested;
pub use disk_reader::DiskReader;
pub use error::DiskError;
pub use ext4::{FilesystemOptions, filesystem};
pub use gpt::{Gpt, Role};
pub use grains::{
    CODEC, DiskGrain, DiskGrains, FinishedPack, GRAIN, Grain, GrainKey, PackedGrain, Packs, collect, plan,
};
pub use identity::Identity;
pub use map::{ContentFile, DiskMap, Origin, Piece};
pub use oci::{LayerSource, OciImage};
pub use ova::{DiskContent, MachineDisk, OVA_WRITER, OvfMachine, ovf_text, write_ova};
pub use pack::{Source, disk_identity, pack, pack_until, packer_identity};
pub use qcow2::qcow2;
pub use raw::{disk_map, write_raw};
pub use rope::{Part, Rope};
pub use spec::{Adapter, DiskSpec, FirmwareSet, Nic, VmSpec};
pub use time::utc;
pub use vmdk::{FoundVmdk, KeptVmdk, VMDK_WRITER, vmdk};

/// Called now and then with the bytes done and their total; from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);
