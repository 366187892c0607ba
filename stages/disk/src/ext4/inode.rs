//! Inodes as bytes (kernel documentation, "Index Nodes").

use super::attrs::{Attrs, IN_INODE};
use super::bytes::{Fields, halves};
use super::crc::Seed;

/// Bytes of an inode.
pub const INODE: usize = 256;
/// Bytes of its fields beyond the first 128.
const EXTRA: u16 = 32;
/// A symbolic link shorter than this lies in its inode.
pub const SHORT_LINK: usize = 60;
/// The most names that a file may have; of a directory, the most subdirectories that are counted.
pub const MOST_LINKS: u32 = 65_000;

/// The types of files, as the upper bits of a mode.
pub const FIFO: u16 = 0o010_000;
pub const CHAR: u16 = 0o020_000;
pub const DIRECTORY: u16 = 0o040_000;
pub const BLOCK_DEVICE: u16 = 0o060_000;
pub const REGULAR: u16 = 0o100_000;
pub const SYMLINK: u16 = 0o120_000;

/// The inode has a tree of extents; without, its 60 bytes are something else.
pub const EXTENTS: u32 = 0x8_0000;
/// The directory is ordered by hash.
pub const INDEX: u32 = 0x1000;

/// An inode before it becomes bytes.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Creation and change time, seconds since 1970.
    pub ctime: i64,
    /// Names.
    pub links: u32,
    /// Blocks that belong to it, of every kind.
    pub blocks: u64,
    /// [`EXTENTS`], [`INDEX`].
    pub flags: u32,
    /// Extents, link target or device number.
    pub payload: [u8; 60],
    /// The block of its attributes, zero for none.
    pub attr_block: u64,
    /// Its attributes.
    pub attrs: Attrs,
}

impl Inode {
    /// An inode of the superuser with one name and nothing in it.
    pub fn new(mode: u16, time: i64) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: time,
            ctime: time,
            links: 1,
            blocks: 0,
            flags: 0,
            payload: [0; 60],
            attr_block: 0,
            attrs: Attrs::default(),
        }
    }

    /// Its bytes. `seed` is that of its number.
    pub fn bytes(&self, seed: Seed) -> Vec<u8> {
        let mut out = vec![0; INODE];
        out.set16(0x00, self.mode);
        out.set16(0x02, self.uid as u16);
        out.set16(0x78, (self.uid >> 16) as u16);
        out.set16(0x18, self.gid as u16);
        out.set16(0x7a, (self.gid >> 16) as u16);
        let (low, high) = halves(self.size);
        out.set32(0x04, low);
        out.set32(0x6c, high);
        out.set16(0x1a, self.links as u16);
        let (low, high) = halves(self.blocks * 8);
        out.set32(0x1c, low);
        out.set16(0x74, high as u16);
        out.set32(0x20, self.flags);
        out[0x28..0x64].copy_from_slice(&self.payload);
        let (low, high) = halves(self.attr_block);
        out.set32(0x68, low);
        out.set16(0x76, high as u16);
        out.set16(0x80, EXTRA);
        self.set_times(&mut out);
        let attrs = self.attrs.in_inode();
        out[INODE - IN_INODE..][..attrs.len()].copy_from_slice(&attrs);
        let sum = seed.sum(&out);
        out.set16(0x7c, sum as u16);
        out.set16(0x82, (sum >> 16) as u16);
        out
    }

    fn set_times(&self, out: &mut [u8]) {
        let times = [(0x08, 0x8c, self.mtime), (0x0c, 0x84, self.ctime), (0x10, 0x88, self.mtime)];
        for (at, more, time) in times.into_iter().chain([(0x90, 0x94, self.ctime)]) {
            let (low, epoch) = split(time);
            out.set32(at, low);
            out.set32(more, epoch);
        }
    }
}

/// Thirty-two bits with a sign, and how often they overflowed: enough from 1901 to 2446. Other times become the nearest
/// that there is.
fn split(time: i64) -> (u32, u32) {
    let time = time.clamp(i64::from(i32::MIN), i64::from(i32::MAX) + (3 << 32));
    let low = time as i32;
    (low as u32, ((time - i64::from(low)) >> 32) as u32)
}

/// A device number as the kernel keeps it (`include/linux/kdev_t.h`): in the first word if it is small, else in the second.
pub fn device(major: u32, minor: u32) -> [u8; 60] {
    let mut payload = [0; 60];
    if major < 256 && minor < 256 {
        payload.set32(0, major << 8 | minor);
    } else {
        payload.set32(4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_five_centuries() {
        let cases: [(i64, (u32, u32)); 6] = [
            (0, (0, 0)),
            (-1, (u32::MAX, 0)),
            (0x7fff_ffff, (0x7fff_ffff, 0)),
            (0x8000_0000, (0x8000_0000, 1)),
            (0x1_8000_0000, (0x8000_0000, 2)),
            (i64::MAX, (0x7fff_ffff, 3)),
        ];
        for (time, fields) in cases {
            assert_eq!(split(time), fields, "{time}");
        }
    }

    #[test]
    fn devices_in_both_forms() {
        assert_eq!(device(8, 1)[..8], [1, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(device(259, 300)[..8], [0, 0, 0, 0, 0x2c, 0x03, 0x11, 0x00]);
    }
}
