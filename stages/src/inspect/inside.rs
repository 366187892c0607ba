//! A look inside a root file system without mounting anything: names come from its tree, bytes from the layer that has them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use ibuild_cache::{Cancel, Store};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::StageError;
use crate::snapshot::{Entry, Kind, LayerStore, Snapshot, SnapshotError, TreeStore, content_of};

/// As many links as Linux follows on one path.
const MOST_LINKS: usize = 40;

/// A root file system to look into.
pub struct Inside<'s> {
    trees: TreeStore<'s>,
    layers: LayerStore<'s>,
    snapshot: Snapshot,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// No file has this name.
    #[error("there is no `{0}`")]
    Missing(String),
    /// Something on the way is no directory.
    #[error("`{0}` is not a directory")]
    NotADirectory(String),
    /// It has no bytes to be shown.
    #[error("`{0}` is not a regular file")]
    NotAFile(String),
    /// Links lead to links, and so on.
    #[error("`{0}` leads through too many symbolic links")]
    TooManyLinks(String),
    /// What is in the store is not what it was.
    #[error("`{0}` was damaged in the store")]
    Damaged(String),
    /// The store failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Who was to have the bytes did not take them.
    #[error("the bytes could not be passed on")]
    Write(#[source] io::Error),
}

impl InsideError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) | Self::NotADirectory(_) => {
                Some("`ibuild ls NAME DIR` lists what is in a directory".to_owned())
            }
            Self::NotAFile(_) => Some("`ibuild ls NAME PATH` tells what it is".to_owned()),
            Self::Damaged(_) => {
                Some("`ibuild cache fsck` forgets what is damaged; then it is made again".to_owned())
            }
            Self::Stage(error) => error.hint(),
            Self::TooManyLinks(_) | Self::Write(..) => None,
        }
    }
}

impl From<SnapshotError> for InsideError {
    fn from(error: SnapshotError) -> Self {
        Self::Stage(error.into())
    }
}

/// A file, and the way to it on which there is no link.
struct Found {
    path: Vec<Vec<u8>>,
    entry: Entry,
}

impl<'s> Inside<'s> {
    /// The root file system that `snapshot` ends with.
    pub fn of(store: &'s Store, snapshot: &Snapshot) -> Self {
        Self { trees: TreeStore::new(store), layers: LayerStore::new(store), snapshot: snapshot.clone() }
    }

    /// What is in a directory, by name; of anything else that alone. Links are followed as a program inside would.
    pub fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<(Vec<u8>, Entry)>, InsideError> {
        let Found { path: way, entry } = self.find(path.as_ref())?;
        match entry.kind {
            Kind::Directory(listing) => {
                let listing = self.trees.listing(listing)?;
                Ok(listing.entries.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect())
            }
            _ => Ok(vec![(way.last().cloned().unwrap_or_default(), entry)]),
        }
    }

    /// Passes on the bytes of a file, after they were found to be the right ones.
    pub fn read(&self, path: impl AsRef<[u8]>, out: &mut dyn Write) -> Result<(), InsideError> {
        let text = String::from_utf8_lossy(path.as_ref());
        let Found { path: way, entry } = self.find(path.as_ref())?;
        let Kind::File { content, .. } = entry.kind else {
            return Err(InsideError::NotAFile(text.into_owned()));
        };
        let way = way.join(&b'/');
        for layer in self.snapshot.layers.iter().rev() {
            let dir = self.layers.unpacked(layer)?;
            let Some(mut file) = open_inside(&dir, &way).map_err(StageError::io("open a file in", &dir))?
            else {
                continue;
            };
            let digest =
                content_of(&file, &Cancel::default()).map_err(StageError::io("read a file in", &dir))?;
            if digest != content {
                return Err(InsideError::Damaged(text.into_owned()));
            }
            io::Seek::rewind(&mut file).map_err(StageError::io("read a file in", &dir))?;
            return pass_on(&mut file, &dir, out);
        }
        Err(InsideError::Damaged(text.into_owned()))
    }

    fn find(&self, path: &[u8]) -> Result<Found, InsideError> {
        let text = || String::from_utf8_lossy(path).into_owned();
        let root = self.trees.root(self.snapshot.tree)?;
        let mut open: VecDeque<Vec<u8>> = components(path);
        let mut way: Vec<(Vec<u8>, Entry)> = Vec::new();
        let mut links = 0;
        while let Some(name) = open.pop_front() {
            let here = way.last().map_or(&root, |(_, entry)| entry);
            let Kind::Directory(listing) = here.kind else {
                return Err(InsideError::NotADirectory(shown(&way)));
            };
            if name == b".." {
                way.pop();
                continue;
            }
            let listing = self.trees.listing(listing)?;
            let entry = listing.entries.get(&name).ok_or_else(|| InsideError::Missing(text()))?;
            let Kind::Symlink(target) = &entry.kind else {
                way.push((name, entry.clone()));
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(InsideError::TooManyLinks(text()));
            }
            if target.starts_with(b"/") {
                way.clear();
            }
            components(target).into_iter().rev().for_each(|name| open.push_front(name));
        }
        let entry = way.last().map_or(root, |(_, entry)| entry.clone());
        Ok(Found { path: way.into_iter().map(|(name, _)| name).collect(), entry })
    }
}

/// Passes on what is left of a file of the layer in `dir`.
fn pass_on(file: &mut File, dir: &std::path::Path, out: &mut dyn Write) -> Result<(), InsideError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(StageError::io("read a file in", dir))?,
        };
        out.write_all(&buffer[..count]).map_err(InsideError::Write)?;
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}

fn shown(way: &[(Vec<u8>, Entry)]) -> String {
    way.iter().map(|(name, _)| format!("/{}", String::from_utf8_lossy(name))).collect()
}

/// A regular file of a layer. No link in a layer leads anywhere: they mean something in the whole file system only.
pub(crate) fn open_inside(layer: &std::path::Path, path: &[u8]) -> io::Result<Option<File>> {
    let dir = File::open(layer)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let opened: Result<OwnedFd, _> = openat2(&dir, path, flags, Mode::empty(), resolve);
    use rustix::io::Errno;
    match opened {
        Ok(file) => {
            let file = File::from(file);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        // A directory that a later layer made, a link that it replaced, or the mark of a removal.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ACCESS) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use ibuild_cache::{Batch, MemoryIndex};

    use super::*;
    use crate::snapshot::capture::{CaptureContext, capture};
    use crate::snapshot::volatile::VolatileList;

    struct Lab {
        _dir: tempfile::TempDir,
        store: Store,
    }

    impl Lab {
        fn new() -> Self {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
            Self { _dir: dir, store }
        }

        fn layer(&self, below: Option<&Snapshot>, fill: impl FnOnce(&Path)) -> Snapshot {
            let run = self.store.run_dir().unwrap();
            let upper = run.path().join("upper");
            fs::create_dir(&upper).unwrap();
            fill(&upper);
            let trees = TreeStore::new(&self.store);
            let context = CaptureContext { trees: &trees, epoch: 1000, volatile: VolatileList::with(&[]) };
            let captured = capture(&context, &upper, below.map(|below| below.tree)).unwrap();
            let mut facts = Batch::default();
            let layer = LayerStore::new(&self.store).publish(&upper, &captured.changes, &mut facts).unwrap();
            trees.flush(&mut facts);
            self.store.index().commit(facts).unwrap();
            let mut layers = below.map(|below| below.layers.clone()).unwrap_or_default();
            layers.push(layer.id);
            Snapshot::of(captured.tree, layers)
        }

        fn snapshot(&self) -> Snapshot {
            let base = self.layer(None, |root| {
                fs::create_dir_all(root.join("usr/bin")).unwrap();
                symlink("usr/bin", root.join("bin")).unwrap();
                symlink("/bin/../bin/tool", root.join("link")).unwrap();
                symlink("loop", root.join("loop")).unwrap();
                symlink("/etc/shadow", root.join("escape")).unwrap();
                fs::write(root.join("usr/bin/tool"), "old").unwrap();
                fs::write(root.join("usr/bin/other"), "other").unwrap();
            });
            self.layer(Some(&base), |root| {
                fs::create_dir_all(root.join("usr/bin")).unwrap();
                fs::write(root.join("usr/bin/tool"), "new").unwrap();
            })
        }
    }

    fn read(inside: &Inside<'_>, path: &str) -> Result<String, String> {
        let mut out = Vec::new();
        inside.read(path, &mut out).map(|()| String::from_utf8(out).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn files_are_read_from_the_layer_that_has_them_through_links() {
        let lab = Lab::new();
        let inside = Inside::of(&lab.store, &lab.snapshot());
        assert_eq!(read(&inside, "/usr/bin/tool").unwrap(), "new");
        assert_eq!(read(&inside, "bin/other").unwrap(), "other");
        assert_eq!(read(&inside, "/link").unwrap(), "new");
        assert_eq!(read(&inside, "/../usr/./bin/../bin/tool").unwrap(), "new");
    }

    #[test]
    fn what_is_not_there_is_told_and_the_hosts_files_are_not_it() {
        let lab = Lab::new();
        let inside = Inside::of(&lab.store, &lab.snapshot());
        assert_eq!(read(&inside, "/escape").unwrap_err(), "there is no `/escape`");
        assert_eq!(read(&inside, "/loop").unwrap_err(), "`/loop` leads through too many symbolic links");
        assert_eq!(read(&inside, "/usr").unwrap_err(), "`/usr` is not a regular file");
        assert_eq!(read(&inside, "/link/x").unwrap_err(), "`/usr/bin/tool` is not a directory");
    }

    #[test]
    fn directories_are_listed_and_files_alone() {
        let lab = Lab::new();
        let inside = Inside::of(&lab.store, &lab.snapshot());
        let names = |path: &str| {
            let listed = inside.list(path).unwrap().into_iter();
            listed.map(|(name, _)| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names("/"), ["bin", "escape", "link", "loop", "usr"]);
        assert_eq!(names("/bin"), ["other", "tool"]);
        assert_eq!(names("/bin/tool"), ["tool"]);
    }

    #[test]
    fn a_damaged_file_is_not_shown() {
        let lab = Lab::new();
        let snapshot = lab.snapshot();
        let dir = LayerStore::new(&lab.store).unpacked(&snapshot.layers[1]).unwrap();
        fs::write(dir.join("usr/bin/tool"), "bad").unwrap();
        let inside = Inside::of(&lab.store, &snapshot);
        assert_eq!(read(&inside, "/usr/bin/tool").unwrap_err(), "`/usr/bin/tool` was damaged in the store");
    }
}
