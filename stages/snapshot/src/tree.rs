//! The whole file system as data: directories that name their subdirectories by digest.
//!
//! A [`Listing`] is one directory. Its digest covers everything that a program could observe of it, and through
//! the digests of the subdirectories everything below, so a change costs the directories on its way to the root.
//! What is left out on purpose: inode numbers, access and change times, link counts, and the modification times
//! of directories, which every capture sets to the epoch because they change with each temporary file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use ibuild_cache::{Batch, BlobId, DecodeError, Decoder, Encoder, Store, Table, TreeId};
use serde::{Deserialize, Serialize};

use super::SnapshotError;

pub(super) const LISTING_DOMAIN: &str = "ibuild listing v2";
pub(super) const ROOT_DOMAIN: &str = "ibuild tree v2";

/// What every kind of file has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Permissions with setuid, setgid and sticky: `mode & 07777`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time, seconds since 1970, at most the epoch. For directories always the epoch.
    pub mtime: i64,
    /// `security.capability`, `system.posix_acl_*` and `user.*`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory, by the digest of its listing.
    Directory(TreeId),
    /// A regular file.
    File {
        /// Its bytes.
        content: BlobId,
        /// Their number.
        size: u64,
        /// Of a file with several names what all of them have and nothing else, `None` for one with a single name.
        link: Option<Vec<u8>>,
    },
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor.
    Char(u32, u32),
    /// A block device: major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A file without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Owner, mode, times, attributes.
    pub meta: Metadata,
    /// Type and content.
    pub kind: Kind,
}

/// A directory: names, sorted by bytes, with what they stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The entries.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

impl Metadata {
    fn encode(&self, out: &mut Encoder) {
        out.number(self.mode.into());
        out.number(self.uid.into());
        out.number(self.gid.into());
        out.number(self.mtime);
        out.sequence(self.xattrs.len());
        for (name, value) in &self.xattrs {
            out.bytes(name);
            out.bytes(value);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut small = || u32::try_from(from.number()?).map_err(|_| DecodeError);
        let (mode, uid, gid) = (small()?, small()?, small()?);
        let mtime = from.number()?;
        let count = from.sequence()?;
        let mut xattrs = BTreeMap::new();
        for _ in 0..count {
            xattrs.insert(from.bytes()?.to_vec(), from.bytes()?.to_vec());
        }
        Ok(Self { mode, uid, gid, mtime, xattrs })
    }
}

/// The numbers are part of every tree's digest: never reuse or change one.
const DIRECTORY: i64 = 1;
const FILE: i64 = 2;
const SYMLINK: i64 = 3;
const CHAR: i64 = 4;
const BLOCK: i64 = 5;
const FIFO: i64 = 6;

impl Entry {
    /// The digest of a whole file system with this root directory.
    pub fn tree_id(&self) -> TreeId {
        TreeId::from_bytes(self.encoded_root().hash())
    }

    fn encoded_root(&self) -> Encoder {
        let mut out = Encoder::new(ROOT_DOMAIN);
        self.encode(&mut out);
        out
    }

    fn encode(&self, out: &mut Encoder) {
        self.meta.encode(out);
        match &self.kind {
            Kind::Directory(listing) => {
                out.number(DIRECTORY);
                out.digest(listing.as_bytes());
            }
            Kind::File { content, size, link } => {
                out.number(FILE);
                out.digest(content.as_bytes());
                out.number(*size as i64);
                out.sequence(usize::from(link.is_some()));
                link.iter().for_each(|name| out.bytes(name));
            }
            Kind::Symlink(target) => {
                out.number(SYMLINK);
                out.bytes(target);
            }
            Kind::Char(major, minor) => encode_device(out, CHAR, *major, *minor),
            Kind::Block(major, minor) => encode_device(out, BLOCK, *major, *minor),
            Kind::Fifo => out.number(FIFO),
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let meta = Metadata::decode(from)?;
        let kind = match from.number()? {
            DIRECTORY => Kind::Directory(TreeId::from_bytes(*from.digest()?)),
            FILE => decode_file(from)?,
            SYMLINK => Kind::Symlink(from.bytes()?.to_vec()),
            CHAR => decode_device(from).map(|(major, minor)| Kind::Char(major, minor))?,
            BLOCK => decode_device(from).map(|(major, minor)| Kind::Block(major, minor))?,
            FIFO => Kind::Fifo,
            _ => return Err(DecodeError),
        };
        Ok(Self { meta, kind })
    }
}

fn decode_file(from: &mut Decoder<'_>) -> Result<Kind, DecodeError> {
    let content = BlobId::from_bytes(*from.digest()?);
    let size = u64::try_from(from.number()?).map_err(|_| DecodeError)?;
    let link = match from.sequence()? {
        0 => None,
        1 => Some(from.bytes()?.to_vec()),
        _ => return Err(DecodeError),
    };
    Ok(Kind::File { content, size, link })
}

fn encode_device(out: &mut Encoder, kind: i64, major: u32, minor: u32) {
    out.number(kind);
    out.number(major.into());
    out.number(minor.into());
}

fn decode_device(from: &mut Decoder<'_>) -> Result<(u32, u32), DecodeError> {
    let mut small = || u32::try_from(from.number()?).map_err(|_| DecodeError);
    Ok((small()?, small()?))
}

/// A directory as it is kept: a tenth of the memory that its [`Listing`] takes.
pub struct PackedListing {
    id: TreeId,
    bytes: Vec<u8>,
}

impl PackedListing {
    /// The digest of the directory.
    pub fn id(&self) -> TreeId {
        self.id
    }

    /// The directory.
    pub fn unpacked(&self) -> Listing {
        Listing::decode(&self.bytes).expect("what was encoded can be decoded")
    }
}

impl Listing {
    /// As it is kept.
    pub fn packed(&self) -> PackedListing {
        let encoded = self.encoded();
        PackedListing { id: TreeId::from_bytes(encoded.hash()), bytes: encoded.finish() }
    }

    fn encoded(&self) -> Encoder {
        let mut out = Encoder::new(LISTING_DOMAIN);
        out.sequence(self.entries.len());
        for (name, entry) in &self.entries {
            out.bytes(name);
            entry.encode(&mut out);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes, LISTING_DOMAIN)?;
        let count = from.sequence()?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            entries.insert(from.bytes()?.to_vec(), Entry::decode(&mut from)?);
        }
        if from.is_empty() { Ok(Self { entries }) } else { Err(DecodeError) }
    }
}

/// Directories of captures whose results are not kept yet, for what stands on them in the same process.
#[derive(Default)]
pub struct RecentTrees(Mutex<HashMap<TreeId, Vec<u8>>>);

/// The directories of all trees, in the index. Those of a capture wait in memory until they are committed
/// together with the result that needs them.
pub struct TreeStore<'s> {
    store: &'s Store,
    recent: Option<Arc<RecentTrees>>,
    pending: Mutex<HashMap<TreeId, Vec<u8>>>,
}

impl<'s> TreeStore<'s> {
    /// The trees of a store.
    pub fn new(store: &'s Store) -> Self {
        Self { store, recent: None, pending: Mutex::default() }
    }

    /// The trees of a store, and those that other values made with `recent` have flushed but not committed yet.
    pub fn beside(store: &'s Store, recent: Arc<RecentTrees>) -> Self {
        Self { store, recent: Some(recent), pending: Mutex::default() }
    }

    fn bytes(&self, id: TreeId) -> Result<Vec<u8>, SnapshotError> {
        let pending = self.pending.lock().expect("no panic while held").get(&id).cloned();
        let recent = || self.recent.as_ref()?.0.lock().expect("no panic while held").get(&id).cloned();
        if let Some(bytes) = pending.or_else(recent) {
            return Ok(bytes);
        }
        let found = self.store.index().get(Table::Trees, id.as_bytes())?;
        // A digest is only trusted from the code that computes it, so a damaged row is a missing one.
        let found = found.filter(|bytes| *blake3::hash(bytes).as_bytes() == *id.as_bytes());
        found.ok_or(SnapshotError::UnknownTree(id))
    }

    fn keep(&self, encoded: Encoder) -> TreeId {
        let id = TreeId::from_bytes(encoded.hash());
        self.pending.lock().expect("no panic while held").insert(id, encoded.finish());
        id
    }

    /// The directory with this digest.
    pub fn listing(&self, id: TreeId) -> Result<Listing, SnapshotError> {
        Listing::decode(&self.bytes(id)?).map_err(|_| SnapshotError::UnknownTree(id))
    }

    /// The root directory of the file system with this digest.
    pub fn root(&self, id: TreeId) -> Result<Entry, SnapshotError> {
        let bytes = self.bytes(id)?;
        let mut from = Decoder::new(&bytes, ROOT_DOMAIN).map_err(|_| SnapshotError::UnknownTree(id))?;
        Entry::decode(&mut from).map_err(|_| SnapshotError::UnknownTree(id))
    }

    /// Remembers a directory.
    pub fn add_listing(&self, listing: &Listing) -> TreeId {
        self.keep(listing.encoded())
    }

    /// Remembers a directory.
    pub fn add_packed(&self, listing: &PackedListing) {
        self.pending.lock().expect("no panic while held").insert(listing.id, listing.bytes.clone());
    }

    /// Remembers a root directory, and names the file system.
    pub fn add_root(&self, root: &Entry) -> TreeId {
        self.keep(root.encoded_root())
    }

    /// Moves what was remembered into a batch.
    pub fn flush(&self, batch: &mut Batch) {
        let mut recent = self.recent.as_ref().map(|recent| recent.0.lock().expect("no panic while held"));
        for (id, bytes) in self.pending.lock().expect("no panic while held").drain() {
            if let Some(recent) = &mut recent {
                recent.insert(id, bytes.clone());
            }
            batch.put(Table::Trees, id.as_bytes(), bytes);
        }
    }

    /// Every directory that the index knows, root directories included, with those directly in it. A row that is
    /// damaged, or that another version wrote, is a missing one.
    pub fn all_children(&self) -> Result<BTreeMap<TreeId, Vec<TreeId>>, SnapshotError> {
        let mut found = BTreeMap::new();
        for (key, value) in self.store.index().scan(Table::Trees, &[])? {
            let Ok(id) = <[u8; 32]>::try_from(key.as_slice()) else { continue };
            if *blake3::hash(&value).as_bytes() == id {
                found.extend(children(&value).map(|children| (TreeId::from_bytes(id), children)));
            }
        }
        Ok(found)
    }

    /// The entry at `path`, relative to the root, following no symbolic link; `None` if there is none.
    pub fn find(&self, tree: TreeId, path: &[u8]) -> Result<Option<Entry>, SnapshotError> {
        let mut entry = self.root(tree)?;
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let Kind::Directory(listing) = entry.kind else { return Ok(None) };
            match self.listing(listing)?.entries.remove(name) {
                Some(child) => entry = child,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }
}

/// The directories that a listing or a root directory names.
fn children(bytes: &[u8]) -> Option<Vec<TreeId>> {
    let directory = |entry: Entry| match entry.kind {
        Kind::Directory(listing) => Some(listing),
        _ => None,
    };
    if let Ok(listing) = Listing::decode(bytes) {
        return Some(listing.entries.into_values().filter_map(directory).collect());
    }
    let root = Entry::decode(&mut Decoder::new(bytes, ROOT_DOMAIN).ok()?).ok()?;
    Some(directory(root).into_iter().collect())
}

#[cfg(test)]
mod tests;
