//! Device nodes where they cannot be made: files that stand for them.
//!
//! Such a file has the node's owner, mode and times, and an attribute that says what it stands for:
//!
//! ```text
//! user.ibuild.device = c 1:3      character device, major 1, minor 3
//! user.ibuild.device = b 8:0      block device
//! ```
//!
//! In a tree and in a layer's tarball there is only the device, without `user.*` attributes, because a node has none. That holds for whoever makes such a file, as root too,
//! so a script gains nothing by setting the attribute: it is another way to call `mknod`.

use std::collections::BTreeMap;

use rustix::fs::{Dev, FileType, makedev};

use super::tree::Kind;

/// What says that a file stands for a device.
pub const ATTRIBUTE: &str = "user.ibuild.device";

/// The attribute's value for a device of this kind.
pub fn encode(kind: FileType, major: u32, minor: u32) -> Vec<u8> {
    let letter = if kind == FileType::BlockDevice { 'b' } else { 'c' };
    format!("{letter} {major}:{minor}").into_bytes()
}

/// Takes out of a file's attributes that it stands for a device. A value that says nothing stays, as any other bytes.
pub(super) fn take(xattrs: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Kind> {
    let device = decode(xattrs.get(ATTRIBUTE.as_bytes())?)?;
    xattrs.retain(|name, _| !name.starts_with(b"user."));
    Some(device)
}

/// What the kernel calls a device: `None` for numbers that it does not have, of which it would take a part, and for the
/// character device 0:0, which is what an overlay takes for a removal.
pub(super) fn number(kind: FileType, major: u32, minor: u32) -> Option<Dev> {
    const MAJORS: u32 = 1 << 12;
    const MINORS: u32 = 1 << 20;
    let is_removal = kind == FileType::CharacterDevice && (major, minor) == (0, 0);
    (major < MAJORS && minor < MINORS && !is_removal).then(|| makedev(major, minor))
}

fn decode(value: &[u8]) -> Option<Kind> {
    let (kind, numbers) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let (kind, device) = match kind {
        "c" => (FileType::CharacterDevice, Kind::Char(major, minor)),
        "b" => (FileType::BlockDevice, Kind::Block(major, minor)),
        _ => return None,
    };
    number(kind, major, minor).map(|_| device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_taken() {
        for (kind, device) in
            [(FileType::CharacterDevice, Kind::Char(1, 3)), (FileType::BlockDevice, Kind::Block(259, 70_000))]
        {
            let (major, minor) = match device {
                Kind::Char(major, minor) | Kind::Block(major, minor) => (major, minor),
                _ => unreachable!("only devices are in the list"),
            };
            let user = (b"user.other".to_vec(), b"c 1:3".to_vec());
            let other = (b"system.posix_acl_access".to_vec(), b"any".to_vec());
            let mark = (ATTRIBUTE.as_bytes().to_vec(), encode(kind, major, minor));
            let mut xattrs = BTreeMap::from([mark, user, other.clone()]);
            assert_eq!(take(&mut xattrs), Some(device));
            assert_eq!(xattrs, BTreeMap::from([other]));
            assert_eq!(take(&mut xattrs), None);
        }
    }

    #[test]
    fn other_values_are_only_bytes() {
        // The last ones would be the number of a removal, or lose a part on their way to the kernel and become it.
        let none = ["", "c", "c 1", "x 1:3", "c 1:3:5", "c -1:3", "c 1:4294967296", "b  8:0"];
        for value in none.into_iter().chain(["c 0:0", "c 4096:0", "c 0:1048576", "b 4096:0"]) {
            let mut xattrs = BTreeMap::from([(ATTRIBUTE.as_bytes().to_vec(), value.as_bytes().to_vec())]);
            assert_eq!((take(&mut xattrs), xattrs.len()), (None, 1), "{value}");
        }
    }
}
