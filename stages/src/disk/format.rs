//! The formats that an image can be had in.

use std::fmt;
use std::str::FromStr;

/// A format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One or more machines with their hardware: VirtualBox, VMware.
    Ova,
    /// A streamOptimized VMDK alone.
    Vmdk,
    /// A compressed qcow2: QEMU, libvirt, Proxmox.
    Qcow2,
    /// The bare disk, sparse.
    Raw,
    /// No disk, but the root file system as a zstd-compressed tar.
    RootfsTarZst,
}

impl Format {
    /// All formats, in the order in which help lists them.
    pub const ALL: [Format; 5] =
        [Format::Ova, Format::Vmdk, Format::Qcow2, Format::Raw, Format::RootfsTarZst];

    /// Its name in recipes and targets, which is also a file's extension without the first dot.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ova => "ova",
            Format::Vmdk => "vmdk",
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
            Format::RootfsTarZst => "rootfs.tar.zst",
        }
    }

    /// Extension of its files, with the dot: `.ova`, `.rootfs.tar.zst`.
    pub fn extension(self) -> String {
        format!(".{}", self.name())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown image format `{0}` (known: ova, vmdk, qcow2, raw, rootfs.tar.zst)")]
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
            let message = UnknownFormat("x".into()).to_string();
            assert!(message.contains(format.name()), "{format} is not in {message}");
        }
        assert_eq!("vdi".parse::<Format>(), Err(UnknownFormat("vdi".into())));
        assert_eq!(Format::RootfsTarZst.extension(), ".rootfs.tar.zst");
    }
}
