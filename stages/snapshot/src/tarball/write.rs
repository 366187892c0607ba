//! Writing members.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tar::{EntryType, Header};

use super::acl;
use super::pax::{self, Records};
use super::sparse::Segment;
use crate::tree::{Kind, Metadata};

/// Largest owner that seven octal digits hold.
const MAX_OWNER: u32 = 0o7_777_777;
/// Longest name and link target of a ustar header.
const MAX_NAME: usize = 100;

/// For whom ACLs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acls {
    /// For ourselves, and those who unpack layers of images: as the attributes that they are.
    Attributes,
    /// For other programs, too. The mode is one that gives nobody more than the ACL does.
    TextToo,
}

/// Writes a canonical tarball. The caller gives the members in order.
pub struct TarWriter<W> {
    out: W,
    acls: Acls,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W, acls: Acls) -> Self {
        Self { out, acls }
    }

    /// A regular file with the bytes of `file` in `segments`.
    pub fn file(
        &mut self,
        path: &[u8],
        meta: &Metadata,
        file: &mut File,
        size: u64,
        segments: &[Segment],
    ) -> io::Result<()> {
        let whole = [Segment { offset: 0, length: size }];
        if segments == whole {
            self.header(path, meta, Shape { kind: EntryType::Regular, size, ..Shape::default() })?;
            self.copy(file, segments, size)
        } else {
            self.sparse_file(path, meta, file, size, segments)
        }
    }

    /// GNU's sparse format 1.0: the map as decimal numbers in front of the data, padded to a block.
    fn sparse_file(
        &mut self,
        path: &[u8],
        meta: &Metadata,
        file: &mut File,
        size: u64,
        segments: &[Segment],
    ) -> io::Result<()> {
        // GNU tar takes the file's size from the end of the last segment.
        let end = Segment { offset: size, length: 0 };
        let mut map = format!("{}\n", segments.len() + 1);
        for segment in segments.iter().chain([&end]) {
            map.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(512), 0);
        let data: u64 = segments.iter().map(|s| s.length).sum();
        let records = Records::from([
            (b"GNU.sparse.major".to_vec(), b"1".to_vec()),
            (b"GNU.sparse.minor".to_vec(), b"0".to_vec()),
            (b"GNU.sparse.name".to_vec(), path.to_vec()),
            (b"GNU.sparse.realsize".to_vec(), size.to_string().into_bytes()),
        ]);
        let total = map.len() as u64 + data;
        self.header(
            path,
            meta,
            Shape { kind: EntryType::Regular, size: total, records, ..Shape::default() },
        )?;
        self.out.write_all(&map)?;
        self.copy(file, segments, total)
    }

    fn copy(&mut self, file: &mut File, segments: &[Segment], member: u64) -> io::Result<()> {
        for segment in segments {
            file.seek(SeekFrom::Start(segment.offset))?;
            let copied = io::copy(&mut file.take(segment.length), &mut self.out)?;
            if copied != segment.length {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file shrank while it was read",
                ));
            }
        }
        self.pad(member)
    }

    fn pad(&mut self, member: u64) -> io::Result<()> {
        let rest = (512 - member % 512) % 512;
        self.out.write_all(&[0; 512][..rest as usize])
    }

    /// Another name of a file that was written before under the name `target`.
    pub fn hard_link(&mut self, path: &[u8], meta: &Metadata, target: &[u8]) -> io::Result<()> {
        self.header(path, meta, Shape { kind: EntryType::Link, target, ..Shape::default() })
    }

    /// Anything that has no bytes of its own.
    pub fn special(&mut self, path: &[u8], meta: &Metadata, kind: &Kind) -> io::Result<()> {
        let shape = match kind {
            Kind::Directory(_) => Shape { kind: EntryType::Directory, ..Shape::default() },
            Kind::Symlink(target) => Shape { kind: EntryType::Symlink, target, ..Shape::default() },
            Kind::Char(major, minor) => Shape::device(EntryType::Char, *major, *minor),
            Kind::Block(major, minor) => Shape::device(EntryType::Block, *major, *minor),
            Kind::Fifo => Shape { kind: EntryType::Fifo, ..Shape::default() },
            Kind::File { .. } => return Err(io::Error::other("a file has bytes of its own")),
        };
        self.header(path, meta, shape)
    }

    /// An empty file that stands for something else: a whiteout.
    pub fn marker(&mut self, path: &[u8]) -> io::Result<()> {
        self.header(path, &Metadata::default(), Shape::default())
    }

    /// The end of the tarball: two empty blocks.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 1024])?;
        Ok(self.out)
    }

    fn header(&mut self, path: &[u8], meta: &Metadata, shape: Shape<'_>) -> io::Result<()> {
        let mut path = path.to_vec();
        if shape.kind == EntryType::Directory {
            path.push(b'/');
        }
        let mut records = records(&path, meta, &shape);
        let mut mode = meta.mode;
        if self.acls == Acls::TextToo {
            acl::add_records(meta, &mut records);
            mode = acl::narrowed_mode(meta);
        }
        if !records.is_empty() {
            let payload = pax::encode(&records);
            let mut header = blank(EntryType::XHeader, payload.len() as u64);
            set_bytes(&mut header.as_old_mut().name, b"pax");
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&payload)?;
            self.pad(payload.len() as u64)?;
        }
        self.out.write_all(main_header(&path, meta, mode, &shape)?.as_bytes())
    }
}

/// What differs between the kinds of members.
struct Shape<'a> {
    kind: EntryType,
    size: u64,
    target: &'a [u8],
    device: Option<(u32, u32)>,
    records: Records,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { kind: EntryType::Regular, size: 0, target: &[], device: None, records: Records::new() }
    }
}

impl Shape<'_> {
    fn device(kind: EntryType, major: u32, minor: u32) -> Self {
        Self { kind, device: Some((major, minor)), ..Self::default() }
    }
}

fn records(path: &[u8], meta: &Metadata, shape: &Shape<'_>) -> Records {
    let mut records = shape.records.clone();
    let mut add = |key: &[u8], value: Vec<u8>| records.insert(key.to_vec(), value);
    if path.len() > MAX_NAME {
        add(b"path", path.to_vec());
    }
    if shape.target.len() > MAX_NAME {
        add(b"linkpath", shape.target.to_vec());
    }
    if meta.uid > MAX_OWNER {
        add(b"uid", meta.uid.to_string().into_bytes());
    }
    if meta.gid > MAX_OWNER {
        add(b"gid", meta.gid.to_string().into_bytes());
    }
    if meta.mtime < 0 {
        add(b"mtime", meta.mtime.to_string().into_bytes());
    }
    for (name, value) in &meta.xattrs {
        add(&pax::xattr_key(name), value.clone());
    }
    records
}

fn main_header(path: &[u8], meta: &Metadata, mode: u32, shape: &Shape<'_>) -> io::Result<Header> {
    let mut header = blank(shape.kind, shape.size);
    set_bytes(&mut header.as_old_mut().name, path);
    set_bytes(&mut header.as_old_mut().linkname, shape.target);
    header.set_mode(mode);
    header.set_uid(meta.uid.min(MAX_OWNER).into());
    header.set_gid(meta.gid.min(MAX_OWNER).into());
    header.set_mtime(meta.mtime.max(0) as u64);
    if let Some((major, minor)) = shape.device {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    header.set_cksum();
    Ok(header)
}

fn blank(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// What does not fit is cut here and whole in a PAX record.
fn set_bytes(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}
