//! CRC-32C, by which ext4 protects its metadata (kernel documentation, "Filesystems / ext4 / Checksums").

/// Continues a check sum over `bytes`. ext4 starts with all ones and never inverts the result.
pub fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!state, bytes)
}

/// Where the check sums of one file system start.
#[derive(Debug, Clone, Copy)]
pub struct Seed(u32);

impl Seed {
    /// That of the file system with this UUID.
    pub fn of(uuid: uuid::Uuid) -> Self {
        Seed(crc32c(u32::MAX, uuid.as_bytes()))
    }

    /// The check sum of something that belongs to no inode.
    pub fn sum(self, bytes: &[u8]) -> u32 {
        crc32c(self.0, bytes)
    }

    /// Where the check sums of all that belongs to an inode start. All our inodes have generation zero.
    pub fn inode(self, number: u32) -> Seed {
        Seed(crc32c(crc32c(self.0, &number.to_le_bytes()), &[0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_value() {
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(7, b"ab"), b"c"), crc32c(7, b"abc"));
    }
}
