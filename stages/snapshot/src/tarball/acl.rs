//! ACLs as other programs read them from a tarball.
//!
//! The kernel has them as attributes (`linux/posix_acl_xattr.h`: a version, then a tag, permissions and an id for each
//! entry). GNU tar and bsdtar take them from records of star's kind only, which hold text, as in `acl_from_text(3)` with
//! commas. Whoever takes them from neither sees the mode alone, whose bits for the group are then the mask, more than the
//! group has.

use super::pax::Records;
use crate::tree::Metadata;

const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attributes, and the records that say the same.
const RECORDS: [(&[u8], &[u8]); 2] =
    [(ACCESS, b"SCHILY.acl.access"), (b"system.posix_acl_default", b"SCHILY.acl.default")];

const VERSION: u32 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 16;

struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// Adds what says the same of a file's ACLs as its attributes.
pub(super) fn add_records(meta: &Metadata, records: &mut Records) {
    for (attribute, record) in RECORDS {
        if let Some(text) = meta.xattrs.get(attribute).and_then(|value| text(&decode(value)?)) {
            records.insert(record.to_vec(), text.into_bytes());
        }
    }
}

/// The mode for those who know nothing of ACLs: the group has what the ACL gives to it.
pub(super) fn narrowed_mode(meta: &Metadata) -> u32 {
    let of = |tag| move |entries: &Vec<Entry>| entries.iter().find(|e| e.tag == tag).map(|e| e.permissions);
    let entries = meta.xattrs.get(ACCESS).and_then(|value| decode(value));
    match entries.as_ref().and_then(of(GROUP)).zip(entries.as_ref().and_then(of(MASK))) {
        Some((group, mask)) => meta.mode & !0o070 | u32::from(group & mask & 7) << 3,
        None => meta.mode,
    }
}

fn decode(value: &[u8]) -> Option<Vec<Entry>> {
    let (version, entries) = value.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION || !entries.len().is_multiple_of(8) {
        return None;
    }
    let entry = |bytes: &[u8]| Entry {
        tag: u16::from_le_bytes([bytes[0], bytes[1]]),
        permissions: u16::from_le_bytes([bytes[2], bytes[3]]),
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Some(entries.chunks(8).map(entry).collect())
}

fn text(entries: &[Entry]) -> Option<String> {
    let entry = |Entry { tag, permissions, id }: &Entry| {
        let who = match tag {
            1 => "user:".to_owned(),
            2 => format!("user:{id}"),
            4 => "group:".to_owned(),
            8 => format!("group:{id}"),
            16 => "mask:".to_owned(),
            32 => "other:".to_owned(),
            _ => return None,
        };
        let may = |bit, letter| if permissions & bit == 0 { '-' } else { letter };
        Some(format!("{who}:{}{}{}", may(4, 'r'), may(2, 'w'), may(1, 'x')))
    };
    Some(entries.iter().map(entry).collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let bytes = |(tag, permissions, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        [VERSION.to_le_bytes().to_vec(), entries.iter().flat_map(bytes).collect()].concat()
    }

    fn with(name: &[u8], value: Vec<u8>) -> Metadata {
        Metadata { mode: 0o4670, xattrs: [(name.to_vec(), value)].into(), ..Metadata::default() }
    }

    #[test]
    fn the_text_says_what_the_attribute_says() {
        let none = u32::MAX;
        let value =
            acl(&[(1, 7, none), (2, 6, 1234), (4, 4, none), (8, 1, 50_000), (16, 7, none), (32, 0, none)]);
        let mut records = Records::new();
        add_records(&with(ACCESS, value.clone()), &mut records);
        add_records(&with(b"system.posix_acl_default", value), &mut records);
        let text: &[u8] = b"user::rwx,user:1234:rw-,group::r--,group:50000:--x,mask::rwx,other::---";
        let both = [b"SCHILY.acl.access", &b"SCHILY.acl.default"[..]];
        assert_eq!(records, both.map(|key| (key.to_vec(), text.to_vec())).into());
    }

    #[test]
    fn a_mode_says_what_the_group_itself_may() {
        let none = u32::MAX;
        let mode = |entries: &[(u16, u16, u32)]| narrowed_mode(&with(ACCESS, acl(entries)));
        assert_eq!(mode(&[(1, 6, none), (2, 6, 5), (4, 0, none), (16, 6, none), (32, 0, none)]), 0o4600);
        assert_eq!(mode(&[(1, 6, none), (2, 6, 5), (4, 7, none), (16, 5, none), (32, 0, none)]), 0o4650);
        assert_eq!(mode(&[(1, 6, none), (4, 4, none), (32, 0, none)]), 0o4670);
    }

    #[test]
    fn what_is_no_acl_says_nothing() {
        for value in
            [vec![], vec![2, 0, 0], acl(&[(3, 7, 0)]), [acl(&[]), vec![1]].concat(), vec![1, 0, 0, 0]]
        {
            let meta = with(ACCESS, value);
            let mut records = Records::new();
            add_records(&meta, &mut records);
            assert!(records.is_empty() && narrowed_mode(&meta) == 0o4670);
        }
    }
}
