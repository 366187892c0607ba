//! A captured directory made as if it had been unpacked from its tarball, also in what no tree keeps and programs can tell: the
//! order in which a directory lists its names, its size, the order in which attributes are listed, and whether one that was set
//! while an overlay had a mark of its own there lies in a block of its own.
//!
//! All of these depend on the order in which names and attributes came and went. Unpacking makes the names of a directory in the
//! order of their bytes, so the same is done here, where it can make a difference.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ibuild_cache::Cancel;
use rustix::fs::statfs;

use super::SnapshotError;
use super::change::Change;
use super::node_copy::dress;
use super::tree::{Entry, Kind};
use super::xattr::{self, Side, copy_times};

/// ext2, ext3 and ext4, in `statfs`(2).
const EXT_MAGIC: i64 = 0xEF53;

/// Does it to a directory below which the changes of a stage lie. `changes` are in the order of the tarball.
pub(super) fn make_canonical(
    dir: &Path,
    changes: &[(Vec<u8>, Change)],
    cancel: &Cancel,
) -> Result<(), SnapshotError> {
    let listing = Listing::of(dir)?;
    // From the bottom up: a directory that is put in the place of another one changes the time of the one above.
    for (path, change) in changes.iter().rev() {
        let Change::Set(Entry { meta, kind }) = change else { continue };
        let place = dir.join(OsStr::from_bytes(path));
        if let Kind::Directory(_) = kind
            && listing.depends_on_the_past(&place)?
        {
            cancel.check().map_err(SnapshotError::io("arrange", &place))?;
            rebuild(dir, &place).map_err(SnapshotError::io("arrange", &place))?;
        } else if !meta.xattrs.is_empty() {
            xattr::set_in_order(&place, &meta.xattrs)?;
        }
    }
    Ok(())
}

/// How a file system lists a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// By the hash of the names. As long as the directory is one block, nothing of its past shows.
    ByHash,
    /// In some other way.
    Otherwise,
}

impl Listing {
    fn of(dir: &Path) -> Result<Self, SnapshotError> {
        let found = statfs(dir).map_err(SnapshotError::io("look at", dir))?;
        Ok(if found.f_type as i64 == EXT_MAGIC { Self::ByHash } else { Self::Otherwise })
    }

    fn depends_on_the_past(self, place: &Path) -> Result<bool, SnapshotError> {
        match self {
            Self::Otherwise => Ok(true),
            Self::ByHash => {
                let meta = fs::symlink_metadata(place).map_err(SnapshotError::io("look at", place))?;
                Ok(meta.size() > meta.blksize())
            }
        }
    }
}

/// Puts a new directory in the place of one, with the same in it. `top` is the captured directory, beside which there is room.
fn rebuild(top: &Path, place: &Path) -> io::Result<()> {
    let (new, meta) = (beside(top), fs::symlink_metadata(place)?);
    fs::create_dir(&new)?;
    let names = fs::read_dir(place)?.map(|entry| Ok((entry?.file_name(), ())));
    for name in names.collect::<io::Result<BTreeMap<_, _>>>()?.into_keys() {
        fs::rename(place.join(&name), new.join(&name))?;
    }
    dress(place, &new, &meta, Side::Layer)?;
    let above = (place != top).then(|| place.parent()).flatten();
    let above = above.map(|above| Ok::<_, io::Error>((above, fs::symlink_metadata(above)?))).transpose()?;
    fs::rename(&new, place)?;
    above.map_or(Ok(()), |(above, meta)| copy_times(&meta, above))
}

fn beside(top: &Path) -> PathBuf {
    let mut name = top.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    top.with_file_name(name)
}
