//! Identifiers that are the same in every build: each is a function of the image's name and of a role.
//!
//! Never of content: a file system UUID is the seed of every metadata checksum in it, so a UUID that
//! followed the content would change blocks all over the disk after each edit.

use ibuild_spec::Mac;
use uuid::Uuid;

/// The project's namespace for UUIDv5, drawn once at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d3f_9a5e_41c7_4f0b_9a62_07c5_e1b8_d2f4);

/// The identifiers of one image.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    image: &'a str,
}

impl<'a> Identity<'a> {
    /// The identifiers of the image of this name.
    pub fn of(image: &'a str) -> Self {
        Identity { image }
    }

    /// GUID of the partition table, where the recipe does not give one.
    pub(super) fn disk(self) -> Uuid {
        self.uuid("disk")
    }

    /// GUID of the partition with this number, counted from one.
    pub fn partition(self, number: u32) -> Uuid {
        self.uuid(&format!("partition/{number}"))
    }

    /// UUID of the root file system, where the recipe does not give one.
    pub fn file_system(self) -> Uuid {
        self.uuid("file-system")
    }

    /// Seed of the hash that orders ext4's directory indices.
    pub fn hash_seed(self) -> Uuid {
        self.uuid("hash-seed")
    }

    /// Volume id of the EFI system partition's FAT.
    pub fn fat_volume(self) -> u32 {
        self.word("fat-volume")
    }

    /// Content id of the VMDK. `ffffffff` and `fffffffe` have meanings of their own (VMware Virtual Disk
    /// Format 1.1, "CID"), so the top bit is kept clear.
    pub fn vmdk_cid(self) -> u32 {
        self.word("vmdk-cid") & 0x7fff_ffff
    }

    /// UUID by which VirtualBox knows the disk as a medium, where the recipe does not give one.
    pub(super) fn medium(self) -> Uuid {
        self.uuid("medium")
    }

    /// UUID of the medium's last change, which VirtualBox wants to see. It follows the name as all others do.
    pub fn modification(self) -> Uuid {
        self.uuid("modification")
    }

    /// UUID by which VirtualBox knows the machine, where the recipe does not give one.
    pub(super) fn machine(self) -> Uuid {
        self.uuid("machine")
    }

    /// MAC address of the adapter in this slot, counted from zero, where the recipe does not give one. It starts with 08:00:27, which is the
    /// prefix VirtualBox gives to virtual adapters.
    pub fn mac(self, slot: usize) -> Mac {
        let uuid = self.uuid(&format!("mac/{slot}"));
        let [a, b, c, ..] = uuid.into_bytes();
        Mac([0x08, 0x00, 0x27, a, b, c])
    }

    fn word(self, role: &str) -> u32 {
        let [a, b, c, d, ..] = self.uuid(role).into_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A line feed stands between the two parts because no image name has one.
    fn uuid(self, role: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{}\n{role}", self.image).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_are_pinned() {
        let id = Identity::of("workstation");
        let seen = [
            id.disk().to_string(),
            id.file_system().to_string(),
            format!("{:08x}", id.vmdk_cid()),
            format!("{:08x}", id.fat_volume()),
            id.mac(0).plain(),
        ];
        assert_eq!(seen, PINNED);
    }

    /// Other values would give every existing image another identity.
    const PINNED: [&str; 5] = [
        "a6bbe155-554e-574c-83dc-d15dc1795e9e",
        "c0d3a2b3-90ff-54ac-a12a-8c9ffe9d5021",
        "574fae4b",
        "e20d7d5b",
        "080027819D67",
    ];

    #[test]
    fn roles_images_and_numbers_differ() {
        let mut seen = BTreeSet::new();
        for image in ["gateway", "workstation"] {
            let id = Identity::of(image);
            seen.extend([
                id.disk(),
                id.file_system(),
                id.hash_seed(),
                id.medium(),
                id.machine(),
                id.modification(),
            ]);
            seen.extend((1..=3).map(|number| id.partition(number)));
        }
        assert_eq!(seen.len(), 18);
        assert_ne!(Identity::of("a").mac(0), Identity::of("a").mac(1));
    }

    #[test]
    fn macs_have_virtualboxs_prefix() {
        assert!(Identity::of("x").mac(3).plain().starts_with("080027"));
    }

    #[test]
    fn the_cid_is_never_a_reserved_one() {
        for n in 0..200 {
            assert!(Identity::of(&format!("image{n}")).vmdk_cid() < 0x8000_0000);
        }
    }
}
