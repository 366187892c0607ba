//! Extended attributes: as many as fit into the inode, the others in one block (kernel documentation, "Extended
//! Attributes").

use std::collections::BTreeMap;

use super::bytes::{BLOCK, Fields};
use super::crc::Seed;

const MAGIC: u32 = 0xea02_0000;
/// Bytes behind the fields of an inode.
pub const IN_INODE: usize = 256 - 160;
const HEAD: usize = 32;

/// One attribute as ext4 keeps it: a number for the beginning of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attr {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attr {
    fn size(&self) -> usize {
        (16 + self.name.len()).next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }
}

/// The attributes of one file, divided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attrs {
    inner: Vec<Attr>,
    outer: Vec<Attr>,
}

/// An attribute that ext4 cannot keep, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: Vec<u8>,
    /// Why not.
    pub reason: &'static str,
}

impl Attrs {
    /// Divides the attributes of a file.
    pub fn of(attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self, Refused> {
        let mut made = Self::default();
        let mut free = IN_INODE - 8;
        for (name, value) in attributes {
            let attr = convert(name, value)?;
            if attr.size() <= free {
                free -= attr.size();
                made.inner.push(attr);
            } else {
                made.outer.push(attr);
            }
        }
        if made.outer.iter().map(Attr::size).sum::<usize>() > BLOCK - HEAD - 4 {
            let name = made.outer[0].name.clone();
            return Err(Refused { name, reason: "ext4 has one block for all attributes of a file" });
        }
        made.outer.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
        Ok(made)
    }

    /// Whether they need a block.
    pub fn need_block(&self) -> bool {
        !self.outer.is_empty()
    }

    /// What goes behind the fields of the inode; empty if nothing does.
    pub fn in_inode(&self) -> Vec<u8> {
        if self.inner.is_empty() {
            return Vec::new();
        }
        let mut bytes = vec![0; IN_INODE];
        bytes.set32(0, MAGIC);
        // Places of values count from the first entry.
        write(&mut bytes[4..], &self.inner, 0, |_| 0);
        bytes
    }

    /// The block, which lies at `place`.
    pub fn block(&self, place: u64, seed: Seed) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        write(&mut block, &self.outer, HEAD, entry_hash);
        block.set32(0, MAGIC);
        block.set32(4, 1);
        block.set32(8, 1);
        let hash = self.outer.iter().fold(0_u32, |hash, attr| hash.rotate_left(16) ^ entry_hash(attr));
        block.set32(12, hash);
        let sum = seed.sum(&[&place.to_le_bytes()[..], &block].concat());
        block.set32(16, sum);
        block
    }
}

/// Entries from `start` on, values from the end backwards.
fn write(out: &mut [u8], attrs: &[Attr], start: usize, hash: fn(&Attr) -> u32) {
    let (mut at, mut end) = (start, out.len());
    for attr in attrs {
        end -= attr.value.len().next_multiple_of(4);
        out[at] = attr.name.len() as u8;
        out[at + 1] = attr.index;
        out.set16(at + 2, if attr.value.is_empty() { 0 } else { end as u16 });
        out.set32(at + 8, attr.value.len() as u32);
        out.set32(at + 12, hash(attr));
        out[at + 16..at + 16 + attr.name.len()].copy_from_slice(&attr.name);
        out[end..end + attr.value.len()].copy_from_slice(&attr.value);
        at += (16 + attr.name.len()).next_multiple_of(4);
    }
}

/// Over the characters of the name and the words of the value.
fn entry_hash(attr: &Attr) -> u32 {
    let name = attr.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    attr.value.chunks(4).fold(name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

fn convert(name: &[u8], value: &[u8]) -> Result<Attr, Refused> {
    let refuse = |reason| Refused { name: name.to_vec(), reason };
    let prefixes: [(&[u8], u8); 2] = [(b"user.", 1), (b"security.", 6)];
    let (index, rest, value) = match name {
        b"system.posix_acl_access" => (2, &b""[..], acl(value).ok_or_else(|| refuse("it is no ACL"))?),
        b"system.posix_acl_default" => (3, &b""[..], acl(value).ok_or_else(|| refuse("it is no ACL"))?),
        _ => {
            let found = prefixes.iter().find_map(|(p, index)| Some((*index, name.strip_prefix(*p)?)));
            let (index, rest) = found.ok_or_else(|| refuse("ext4 has no place for names like this"))?;
            (index, rest, value.to_vec())
        }
    };
    if rest.len() > 255 || value.len() > BLOCK {
        return Err(refuse("ext4 has one block for all attributes of a file"));
    }
    Ok(Attr { index, name: rest.to_vec(), value })
}

/// From the form of the system calls (`include/uapi/linux/posix_acl_xattr.h`) to that on disk (`fs/ext4/acl.h`), which
/// leaves out ids that mean nothing.
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    const NAMED: [u16; 2] = [0x02, 0x08];
    let entries = value.strip_prefix(&2_u32.to_le_bytes())?;
    if !entries.len().is_multiple_of(8) {
        return None;
    }
    let mut out = 1_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        out.extend(if NAMED.contains(&tag) { entry } else { &entry[..4] });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(list: &[(&str, &[u8])]) -> Result<Attrs, Refused> {
        Attrs::of(&list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect())
    }

    #[test]
    fn small_ones_stay_in_the_inode() {
        let capability = attrs(&[("security.capability", &[7; 20])]).unwrap();
        assert!(!capability.need_block());
        assert_eq!(capability.in_inode().len(), IN_INODE);
        let more = attrs(&[("security.capability", &[7; 20]), ("user.long", &[1; 60])]).unwrap();
        assert!(more.need_block() && !more.in_inode().is_empty());
        assert!(attrs(&[]).unwrap().in_inode().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(attrs(&[("user.big", &[1; 5000])]).unwrap_err().name, b"user.big");
        assert!(attrs(&[("user.a", &[1; 2500]), ("user.b", &[1; 2500])]).is_err());
        assert!(attrs(&[("trusted.x", b"")]).is_err());
        assert!(attrs(&[("system.posix_acl_access", &[2, 0, 0, 0, 1])]).is_err());
    }
}
