//! Reading members: ours, and those of Debian's packages, which come in GNU's format.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use super::pax::{self, Records};
use super::sparse::Segment;
use crate::tree::Metadata;

/// No name and no set of records comes near; a damaged length must not ask for all memory.
const MAX_RECORDS: u64 = 16 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    Directory,
    /// A regular file of `size` bytes. The bytes that follow belong to `segments`, the rest is zero.
    File {
        size: u64,
        segments: Vec<Segment>,
    },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// A member's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Without `./` in front and `/` behind; empty for the root directory.
    pub path: Vec<u8>,
    pub meta: Metadata,
    pub kind: MemberKind,
}

/// Calls `each` for all members, in order, with a reader of the bytes that a file has.
pub fn read_members<R: Read, E: From<io::Error>>(
    tarball: R,
    mut each: impl FnMut(Member, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(tarball);
    let mut records = Records::new();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::XHeader => {
                let payload = payload(&mut entry)?;
                records.extend(pax::decode(&payload).ok_or_else(|| invalid("damaged PAX header"))?);
            }
            EntryType::XGlobalHeader => {}
            EntryType::GNULongName => drop(records.insert(b"path".to_vec(), long_name(&mut entry)?)),
            EntryType::GNULongLink => drop(records.insert(b"linkpath".to_vec(), long_name(&mut entry)?)),
            _ => {
                let member = member(&mut entry, std::mem::take(&mut records))?;
                each(member, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn payload(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_RECORDS).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn long_name(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut name = payload(entry)?;
    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
    Ok(name)
}

fn member<R: Read>(entry: &mut Entry<'_, R>, records: Records) -> io::Result<Member> {
    let path = match records.get(&b"GNU.sparse.name"[..]).or_else(|| records.get(&b"path"[..])) {
        Some(path) => path.clone(),
        None => entry.header().path_bytes().into_owned(),
    };
    let kind = kind(entry, &records)?;
    let meta = metadata(entry, &records)?;
    Ok(Member { path: relative(&path), meta, kind })
}

/// Leading `./` and `/`, and a trailing `/`, are habits of other writers.
fn relative(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

fn kind<R: Read>(entry: &mut Entry<'_, R>, records: &Records) -> io::Result<MemberKind> {
    let header = entry.header().clone();
    let target = || match records.get(&b"linkpath"[..]) {
        Some(target) => target.clone(),
        None => header.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default(),
    };
    let device = || {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        Ok::<_, io::Error>((major.unwrap_or(0), minor.unwrap_or(0)))
    };
    match header.entry_type() {
        EntryType::Directory => Ok(MemberKind::Directory),
        EntryType::Link => Ok(MemberKind::HardLink(relative(&target()))),
        EntryType::Symlink => Ok(MemberKind::Symlink(target())),
        EntryType::Char => device().map(|(major, minor)| MemberKind::Char(major, minor)),
        EntryType::Block => device().map(|(major, minor)| MemberKind::Block(major, minor)),
        EntryType::Fifo => Ok(MemberKind::Fifo),
        EntryType::Regular | EntryType::Continuous => file(entry, header.entry_size()?, records),
        _ => Err(invalid("a member of an unknown type")),
    }
}

fn file(entry: &mut impl Read, size: u64, records: &Records) -> io::Result<MemberKind> {
    if records.contains_key(&b"size"[..]) {
        return Err(invalid("a size in a PAX header"));
    }
    let Some(real) = records.get(&b"GNU.sparse.realsize"[..]) else {
        return Ok(MemberKind::File { size, segments: vec![Segment { offset: 0, length: size }] });
    };
    let size = parse(real)?;
    Ok(MemberKind::File { size, segments: sparse_map(entry, size)? })
}

fn sparse_map(entry: &mut impl Read, size: u64) -> io::Result<Vec<Segment>> {
    let mut map = Lines { entry, block: Vec::new() };
    let count = map.number()?;
    let mut segments = Vec::new();
    let mut end = 0;
    for _ in 0..count {
        let segment = Segment { offset: map.number()?, length: map.number()? };
        let next = segment.offset.checked_add(segment.length).filter(|next| *next <= size);
        if segment.offset < end {
            return Err(invalid("a sparse map out of order"));
        }
        end = next.ok_or_else(|| invalid("a sparse map beyond the file's end"))?;
        segments.push(segment);
    }
    Ok(segments)
}

/// Decimal numbers, one a line, in whole blocks.
struct Lines<'a, R> {
    entry: &'a mut R,
    block: Vec<u8>,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        loop {
            if let Some(end) = self.block.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.block.drain(..=end).collect();
                return parse(&line[..end]);
            }
            let mut next = [0; 512];
            self.entry.read_exact(&mut next)?;
            self.block.extend_from_slice(&next);
        }
    }
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> io::Result<T> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("a damaged number"))
}

fn metadata<R: Read>(entry: &Entry<'_, R>, records: &Records) -> io::Result<Metadata> {
    let header = entry.header();
    let owner = |key: &[u8], field: u64| match records.get(key) {
        Some(digits) => parse(digits),
        None => u32::try_from(field).map_err(|_| invalid("an owner out of range")),
    };
    let xattrs = records.iter().filter_map(|(key, value)| Some((pax::xattr_name(key)?, value.clone())));
    Ok(Metadata {
        mode: header.mode()? & 0o7777,
        uid: owner(b"uid", header.uid()?)?,
        gid: owner(b"gid", header.gid()?)?,
        mtime: mtime(header.mtime()?, records)?,
        xattrs: xattrs.collect::<BTreeMap<_, _>>(),
    })
}

fn mtime(field: u64, records: &Records) -> io::Result<i64> {
    match records.get(&b"mtime"[..]) {
        // Other writers add a fraction; ours never do.
        Some(text) => parse(text.split(|b| *b == b'.').next().unwrap_or_default()),
        None => i64::try_from(field).map_err(|_| invalid("a time out of range")),
    }
}
