//! Disks and their formats: partition table, boot loader, file system, VMDK, OVF, OVA.
//!
//! A [`DiskSpec`] and a flat tar of a root file system become a sparse raw disk ([`assemble_raw`]), and raw
//! disks become what people download ([`pack()`]). Nothing needs root, a loop device or a mount, and the same
//! input gives the same bytes. The writers whose version can change bytes tell it, for keys:
//! [`FilesystemWriter::identity`], [`packer_identity`], [`GrubPlan::VERSION`].

mod boot;
mod contents;
mod digest;
mod error;
mod ext4;
mod format;
mod gpt;
mod identity;
mod map;
mod ova;
mod pack;
mod qcow2;
mod raw;
mod sparse;
mod spec;
pub mod tool;
mod vmdk;

pub use boot::{BiosBoot, BootFiles, GrubPlan};
pub use digest::Digests;
pub use error::DiskError;
pub use ext4::{FilesystemJob, FilesystemOptions, FilesystemWriter, Mke2fs, MkfsTool, filesystem};
pub use format::{Format, UnknownFormat};
pub use gpt::{Gpt, Role};
pub use identity::{Identity, Mac};
pub use map::{ContentFile, DiskMap, Origin, Piece};
pub use ova::{MachineDisk, OVA_WRITER, OvfMachine, ovf_text, write_ova};
pub use pack::{PackedArtifact, Source, pack, packer_identity};
pub use qcow2::QemuImg;
pub use raw::{RawDisk, assemble_raw, write_raw};
pub(crate) use sparse::copy as copy_sparsely;
pub use spec::{DiskSpec, Firmware, FirmwareSet, MIB, Nic, SMALLEST_DISK, VmSpec};
pub use vmdk::{GRAIN, VMDK_WRITER, write_vmdk};

/// Called now and then with the bytes done and their total; from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);
