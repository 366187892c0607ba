//! Little-endian fields of fixed places, as every structure of ext4 has them.

/// One block.
pub const BLOCK: usize = 4096;

/// A structure being filled.
pub trait Fields {
    /// Sets two bytes.
    fn set16(&mut self, at: usize, value: u16);
    /// Sets four bytes.
    fn set32(&mut self, at: usize, value: u32);
}

impl Fields for [u8] {
    fn set16(&mut self, at: usize, value: u16) {
        self[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn set32(&mut self, at: usize, value: u32) {
        self[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The lower and the upper half of a number whose halves lie in different places.
pub fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
