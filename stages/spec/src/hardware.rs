//! The parts of a virtual machine that one can choose, by the words that recipes have for them, and what people are told of it.

use serde::Serialize;

/// An enumeration whose values have words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// All values, with their words.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value),)*];

            /// The word for it in a recipe.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

words! {
    /// How a machine's firmware starts its boot loader.
    Firmware {
        /// The PC BIOS: code in the first sector.
        Bios = "bios",
        /// UEFI: a program in the EFI system partition.
        Uefi = "uefi",
    }
}

words! {
    /// What the disk is attached to.
    DiskBus {
        /// AHCI.
        Sata = "sata",
        /// The PIIX4's two channels.
        Ide = "ide",
        /// LSI Logic's parallel SCSI.
        Scsi = "scsi",
        /// NVM Express. VirtualBox's BIOS cannot start from it.
        Nvme = "nvme",
        /// The paravirtual one: virtio-blk under QEMU, virtio-scsi under VirtualBox. VMware has none.
        Virtio = "virtio",
    }
}

words! {
    /// A sound card. It plays and never records.
    Audio {
        /// There is none.
        None = "none",
        /// Intel HD Audio.
        Hda = "hda",
        /// AC'97.
        Ac97 = "ac97",
    }
}

words! {
    /// What a machine and its host share of a clipboard, or by dragging.
    Sharing {
        /// Nothing.
        Disabled = "disabled",
        /// The machine gets what the host has.
        HostToGuest = "host-to-guest",
        /// The host gets what the machine has.
        GuestToHost = "guest-to-host",
        /// Both.
        Bidirectional = "bidirectional",
    }
}

words! {
    /// The time that the hardware clock tells.
    Clock {
        /// UTC, as Linux expects it.
        Utc = "utc",
        /// The host's local time.
        Local = "local",
    }
}

words! {
    /// A device that firmware may start from.
    BootDevice {
        /// The disk.
        Disk = "disk",
        /// A DVD.
        Dvd = "dvd",
        /// The network.
        Network = "network",
        /// A floppy.
        Floppy = "floppy",
    }
}

/// What is said about a machine when it is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VmTexts {
    /// A sentence or more about it.
    pub description: Option<String>,
    /// The product that it is.
    pub product: Option<String>,
    /// Where that is described.
    pub product_url: Option<String>,
    /// Who makes it.
    pub vendor: Option<String>,
    /// Where they are found.
    pub vendor_url: Option<String>,
    /// The product's version.
    pub version: Option<String>,
    /// A licence that has to be accepted before the machine is imported.
    pub eula: Option<String>,
}

impl VmTexts {
    /// The texts that there are, by their keys in a recipe.
    pub fn said(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("description", &self.description),
            ("product", &self.product),
            ("product-url", &self.product_url),
            ("vendor", &self.vendor),
            ("vendor-url", &self.vendor_url),
            ("version", &self.version),
            ("eula", &self.eula),
        ];
        all.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_there_and_back() {
        for (word, value) in Sharing::WORDS {
            assert_eq!(value.word(), *word);
        }
        assert_eq!(Sharing::WORDS.len(), 4);
        assert_eq!(serde_json::to_string(&DiskBus::Scsi).unwrap(), "\"scsi\"");
    }
}
