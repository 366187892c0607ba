//! The formats that an image can be had in.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One or more machines with their hardware: VirtualBox, VMware.
    Ova,
    /// A streamOptimized VMDK alone.
    Vmdk,
    /// A compressed qcow2: QEMU, libvirt, Proxmox.
    Qcow2,
    /// VirtualBox's own disk.
    Vdi,
    /// The bare disk, sparse.
    Raw,
    /// The bare disk, compressed with zstd.
    RawZst,
    /// No disk, but the root file system as a zstd-compressed tar.
    RootfsTarZst,
    /// No disk, but the root file system as an OCI image, in an archive: podman, buildah, skopeo.
    Oci,
}

impl Format {
    /// All formats, in the order in which help lists them.
    pub const ALL: [Format; 8] = [
        Format::Ova,
        Format::Vmdk,
        Format::Qcow2,
        Format::Vdi,
        Format::Raw,
        Format::RawZst,
        Format::RootfsTarZst,
        Format::Oci,
    ];

    /// Its name in recipes and targets, which is also the extension of its files, without the first dot.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ova => "ova",
            Format::Vmdk => "vmdk",
            Format::Qcow2 => "qcow2",
            Format::Vdi => "vdi",
            Format::Raw => "raw",
            Format::RawZst => "raw.zst",
            Format::RootfsTarZst => "rootfs.tar.zst",
            Format::Oci => "oci",
        }
    }

    /// Whether it can hold several machines.
    pub fn holds_several(self) -> bool {
        self == Format::Ova
    }

    /// Whether it holds a disk, and not only the files.
    pub fn needs_disk(self) -> bool {
        !matches!(self, Format::RootfsTarZst | Format::Oci)
    }

    /// Whether a machine can be started from it as it is.
    pub fn boots(self) -> bool {
        self.needs_disk() && self != Format::RawZst
    }

    /// Whether its files hold compressed grains of a disk, which later ones can take over.
    pub fn keeps_grains(self) -> bool {
        matches!(self, Format::Ova | Format::Vmdk | Format::Qcow2)
    }

    /// Whether its files hold whole VMDKs.
    pub fn keeps_vmdks(self) -> bool {
        matches!(self, Format::Ova | Format::Vmdk)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a format")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| UnknownFormat(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("iso".parse::<Format>(), Err(UnknownFormat("iso".into())));
    }

    #[test]
    fn what_keeps_grains_has_a_disk() {
        let without = Format::ALL.into_iter().filter(|format| !format.needs_disk());
        assert!(without.clone().count() == 2);
        assert!(without.into_iter().all(|it| !it.keeps_grains() && !it.boots() && !it.holds_several()));
    }
}
