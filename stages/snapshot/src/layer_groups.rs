//! Long chains: some layers as one directory that does what they do one upon the other.
//!
//! An overlay takes a page of names, and looks in each of its directories for a name that is in none. So a chain of more
//! than [`MOST`] layers is cut into groups of [`GROUP`], lowest first, and each whole group is mounted as one directory.
//! Its files are copies of those of the layers: hard links would raise the number of links that stages over other chains see.
//! What the group hides of the groups below it, it still hides: removals stay, and a directory upon a removal is opaque. A removal
//! of what no group below has must not stay: an overlay takes removals out of the list of a directory only if it has that
//! directory of several layers, so the name would be listed, of a file that is not there.
//!
//! A group never changes. So a chain that grows merges each layer once, and chains with the same beginning share their
//! groups.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ibuild_cache::{Digest, Encoder, LayerId, Layout, Store};

use super::SnapshotError;
use super::node_copy::{copy_node, dress};
use super::unpack::make_whiteout;
use super::xattr::{self, Side};

/// The longest chain that is mounted as it is.
const MOST: usize = 100;
/// Layers that become one directory.
const GROUP: usize = 64;
/// What is appended to a merged directory's name for the file that tells its layers.
const LIST: &str = ".layers";

/// The groups of a chain that are to be merged, lowest first, and the layers above them, of which there always is one.
pub(super) fn split(layers: &[LayerId]) -> (Vec<Merged<'_>>, &[LayerId]) {
    let groups = if layers.len() > MOST { (layers.len() - 1) / GROUP } else { 0 };
    let groups = (0..groups).map(|group| Merged::above(&layers[..(group + 1) * GROUP], group * GROUP));
    let groups: Vec<_> = groups.collect();
    let single = &layers[groups.len() * GROUP..];
    (groups, single)
}

/// A group of layers upon others.
pub(super) struct Merged<'a> {
    /// Lowest first.
    pub layers: &'a [LayerId],
    name: String,
}

impl<'a> Merged<'a> {
    /// The group of all layers of a chain but the first `below`. What it has depends on these, too. Its name is none that a layer
    /// has, because it is one character longer.
    pub(super) fn above(chain: &'a [LayerId], below: usize) -> Self {
        let mut out = Encoder::new("ibuild merged layers v3");
        out.sequence(chain.len());
        chain.iter().for_each(|layer| out.digest(layer.as_bytes()));
        out.number(below as i64);
        let name = format!("m{}", Layout::layer_name(&LayerId::from_bytes(out.hash())));
        Self { layers: &chain[below..], name }
    }

    /// The directory's name among the unpacked layers.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the directory in `work`, of the layers' own, lowest first, and renames it to `place`. `below` are the directories
    /// of the groups below, topmost first. The list of layers comes first: a list without a directory does no harm, a
    /// directory without a list would outlive its layers.
    pub(super) fn make(
        &self,
        dirs: &[PathBuf],
        below: &[PathBuf],
        work: &Path,
        place: &Path,
    ) -> Result<(), SnapshotError> {
        let mut root = Directory { like: work.to_owned(), cover: Cover::Open, children: BTreeMap::new() };
        for dir in dirs {
            root.put_upon(dir)?;
        }
        let mut writer = Writer { below, links: BTreeMap::new() };
        writer.directory(&root, Cover::Open, Path::new(""), work)?;
        let list = place.with_file_name(format!("{}{LIST}", self.name));
        let lines: String = self.layers.iter().map(|layer| format!("{}\n", layer.hex())).collect();
        fs::write(&list, lines).map_err(SnapshotError::io("write", &list))?;
        match fs::rename(work, place) {
            Err(_) if place.exists() => Ok(()),
            renamed => renamed.map_err(SnapshotError::io("create", place)),
        }
    }
}

/// Removes every merged directory that has the layer in it.
pub(super) fn discard_with(store: &Store, layer: &LayerId) -> Result<(), SnapshotError> {
    for group in groups(store)?.iter().filter(|group| group.layers.contains(layer)) {
        store.discard(&group.place)?;
        store.discard(&group.place.with_file_name(format!("{}{LIST}", group.name)))?;
    }
    Ok(())
}

/// A merged directory that is there, or whose list is.
pub(super) struct Group {
    name: String,
    place: PathBuf,
    /// What it was made of, lowest first.
    pub layers: Vec<LayerId>,
}

/// All merged directories.
pub(super) fn groups(store: &Store) -> Result<Vec<Group>, SnapshotError> {
    let layers = store.layout().layers();
    let error = || SnapshotError::io("read", &layers);
    let mut found = Vec::new();
    for entry in fs::read_dir(&layers).map_err(error())? {
        let list = entry.map_err(error())?.path();
        let name = list.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(LIST) else { continue };
        // Whoever removed it in the meantime has removed the directory before.
        let Ok(lines) = fs::read_to_string(&list) else { continue };
        let of = lines.lines().filter_map(|line| LayerId::from_hex(line).ok()).collect();
        found.push(Group { name: name.to_owned(), place: layers.join(name), layers: of });
    }
    Ok(found)
}

/// What the merged directory is to have at some place.
enum Node {
    Directory(Directory),
    Whiteout,
    /// Anything else: a copy of the layer's own.
    Copy(PathBuf),
}

struct Directory {
    /// Whose owner, mode, times and attributes it gets.
    like: PathBuf,
    cover: Cover,
    children: BTreeMap<Vec<u8>, Node>,
}

/// Whether what lies below the group is seen through a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    Open,
    Opaque,
}

impl Directory {
    /// A layer's directory with nothing of the group below it.
    fn read(dir: &Path, cover: Cover) -> Result<Self, SnapshotError> {
        let mut read = Self { like: dir.to_owned(), cover, children: BTreeMap::new() };
        read.put_children(dir)?;
        Ok(read)
    }

    /// Puts a layer's directory upon this one, as an overlay would.
    fn put_upon(&mut self, dir: &Path) -> Result<(), SnapshotError> {
        dir.clone_into(&mut self.like);
        self.put_children(dir)
    }

    fn put_children(&mut self, dir: &Path) -> Result<(), SnapshotError> {
        let error = || SnapshotError::io("read", dir);
        for entry in fs::read_dir(dir).map_err(error())? {
            let entry = entry.map_err(error())?;
            let kind = entry.file_type().map_err(error())?;
            debug_assert!(!kind.is_socket(), "a capture drops sockets");
            self.put_child(entry.file_name().into_vec(), entry.path(), kind)?;
        }
        Ok(())
    }

    fn put_child(&mut self, name: Vec<u8>, path: PathBuf, kind: fs::FileType) -> Result<(), SnapshotError> {
        if !kind.is_dir() {
            let node =
                if kind.is_char_device() && is_whiteout(&path)? { Node::Whiteout } else { Node::Copy(path) };
            self.children.insert(name, node);
            return Ok(());
        }
        let cover = match self.children.get_mut(&name) {
            Some(Node::Directory(below)) => return below.put_upon(&path),
            // What the group has below it, a whiteout among them, hides what is below the group.
            Some(_) => Cover::Opaque,
            None => Cover::Open,
        };
        self.children.insert(name, Node::Directory(Self::read(&path, cover)?));
        Ok(())
    }
}

/// Makes a merged directory on disk.
struct Writer<'a> {
    /// The groups below, topmost first.
    below: &'a [PathBuf],
    /// The first copy of each inode that has several names.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl Writer<'_> {
    /// It is dressed after its children, because a default ACL would be inherited by them and its time would change.
    /// `above` tells whether one that it is in is opaque, so that nothing below the group is seen through it.
    fn directory(
        &mut self,
        directory: &Directory,
        above: Cover,
        path: &Path,
        place: &Path,
    ) -> Result<(), SnapshotError> {
        let cover = if above == Cover::Opaque { above } else { directory.cover };
        fs::create_dir(place).map_err(SnapshotError::io("create", place))?;
        for (name, child) in &directory.children {
            let name = std::ffi::OsStr::from_bytes(name);
            let (path, place) = (path.join(name), place.join(name));
            match child {
                Node::Directory(directory) => self.directory(directory, cover, &path, &place)?,
                Node::Whiteout if cover == Cover::Opaque || !is_seen(self.below, &path)? => {}
                Node::Whiteout => make_whiteout(&place)?,
                Node::Copy(file) => self.file(file, &place).map_err(SnapshotError::io("copy", file))?,
            }
        }
        if directory.cover == Cover::Opaque {
            xattr::set_opaque(place)?;
        }
        let error = SnapshotError::io("prepare", place);
        let like = fs::symlink_metadata(&directory.like);
        like.and_then(|meta| dress(&directory.like, place, &meta, Side::Layer)).map_err(error)
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = fs::symlink_metadata(from)?;
        if source.nlink() > 1 {
            if let Some(first) = self.links.get(&(source.dev(), source.ino())) {
                return fs::hard_link(first, to);
            }
            self.links.insert((source.dev(), source.ino()), to.to_owned());
        }
        copy_node(from, to, &source, Side::Layer)
    }
}

/// Whether there is something at `path` in merged directories, topmost first, one upon the other.
fn is_seen(groups: &[PathBuf], path: &Path) -> Result<bool, SnapshotError> {
    for group in groups {
        match sight(group, path)? {
            Sight::Seen => return Ok(true),
            Sight::Hidden => return Ok(false),
            Sight::Through => {}
        }
    }
    Ok(false)
}

/// What a merged directory does to a path.
enum Sight {
    /// It has something there.
    Seen,
    /// It hides what is there below it.
    Hidden,
    /// What is there below it, if anything, is seen.
    Through,
}

fn sight(group: &Path, path: &Path) -> Result<Sight, SnapshotError> {
    let (mut disk, whole, mut nothing_here) = (group.to_owned(), group.join(path), Sight::Through);
    for name in path {
        disk.push(name);
        let meta = match fs::symlink_metadata(&disk) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(nothing_here),
            meta => meta.map_err(SnapshotError::io("look at", &disk))?,
        };
        if meta.is_dir() {
            if xattr::is_opaque(&disk) {
                nothing_here = Sight::Hidden;
            }
            continue;
        }
        let is_whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        return Ok(if disk == whole && !is_whiteout { Sight::Seen } else { Sight::Hidden });
    }
    Ok(Sight::Seen)
}

fn is_whiteout(path: &Path) -> Result<bool, SnapshotError> {
    let meta = fs::symlink_metadata(path).map_err(SnapshotError::io("look at", path))?;
    Ok(meta.rdev() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_chains_stay_and_long_ones_keep_their_top() {
        let chain: Vec<_> =
            (0..1000_u32).map(|n| LayerId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
        let lengths = |length: usize| {
            let (groups, single) = split(&chain[..length]);
            assert!(groups.iter().all(|group| group.layers.len() == GROUP));
            assert_eq!(
                groups.iter().map(|group| group.layers).collect::<Vec<_>>().concat().len() + single.len(),
                length
            );
            (groups.len(), single.len())
        };
        assert_eq!(lengths(0), (0, 0));
        assert_eq!(lengths(100), (0, 100));
        assert_eq!(lengths(101), (1, 37));
        assert_eq!(lengths(128), (1, 64));
        assert_eq!(lengths(129), (2, 1));
        assert_eq!(lengths(1000), (15, 40));
    }

    #[test]
    fn all_layers_and_their_order_count() {
        let (a, b) = (LayerId::from_bytes([1; 32]), LayerId::from_bytes([2; 32]));
        let name = |chain: &[LayerId], below| Merged::above(chain, below).name;
        assert_ne!(name(&[a, b], 0), name(&[b, a], 0));
        assert_ne!(name(&[a], 0), name(&[a, a], 0));
        assert_ne!(name(&[a, b], 0), name(&[a, b], 1), "what is below counts");
        assert_ne!(name(&[a, b], 1), name(&[b, b], 1), "what is below counts");
    }
}
