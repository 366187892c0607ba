//! Copies out of another root file system: everything as it is there, owner, mode, attributes and times included.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::RUN_DIR;
use super::super::mounts::{SetupResult, failed};
use super::{make_parents, make_room};
use crate::snapshot::{Side, copy_times, copy_with_holes, copy_xattrs};

/// Copies what the other root has at `path`. A link is copied as a link.
pub(super) fn copy(path: &Path, to: &Path) -> SetupResult {
    let from = Path::new(RUN_DIR).join("from").join(path.strip_prefix("/").unwrap_or(path));
    make_parents(to, 0o755)?;
    RootCopy::default().entry(&from, to)
}

/// A copy of one path.
#[derive(Default)]
struct RootCopy {
    /// The first copy of each inode that has several names.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl RootCopy {
    fn entry(&mut self, from: &Path, to: &Path) -> SetupResult {
        let act = format!("look at `{}`", from.display());
        let source = fs::symlink_metadata(from).map_err(failed(act))?;
        if source.is_dir() { self.directory(from, to, &source) } else { self.file(from, to, &source) }
    }

    fn directory(&mut self, from: &Path, to: &Path, source: &Metadata) -> SetupResult {
        let act = || format!("create `{}`", to.display());
        if !fs::symlink_metadata(to).is_ok_and(|meta| meta.is_dir()) {
            make_room(to).and_then(|()| fs::create_dir(to)).map_err(failed(act()))?;
        }
        let act = || format!("read `{}`", from.display());
        let mut names = Vec::new();
        for child in fs::read_dir(from).map_err(failed(act()))? {
            names.push(child.map_err(failed(act()))?.file_name());
        }
        names.sort();
        names.iter().try_for_each(|name| self.entry(&from.join(name), &to.join(name)))?;
        dress(source, from, to).map_err(failed(format!("copy to `{}`", to.display())))
    }

    fn file(&mut self, from: &Path, to: &Path, source: &Metadata) -> SetupResult {
        let act = || format!("copy to `{}`", to.display());
        make_room(to).map_err(failed(act()))?;
        if source.nlink() > 1 {
            if let Some(first) = self.links.get(&(source.dev(), source.ino())) {
                return fs::hard_link(first, to).map_err(failed(act()));
            }
            self.links.insert((source.dev(), source.ino()), to.to_owned());
        }
        make(from, to, source).and_then(|()| dress(source, from, to)).map_err(failed(act()))
    }
}

fn dress(source: &Metadata, from: &Path, to: &Path) -> io::Result<()> {
    lchown(to, Some(source.uid()), Some(source.gid()))?;
    if !source.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(source.mode() & 0o7777))?;
    }
    copy_xattrs(from, to, Side::Overlay)?;
    copy_times(source, to)
}

fn make(from: &Path, to: &Path, source: &Metadata) -> io::Result<()> {
    let kind = source.file_type();
    let node = |kind, device| Ok(mknodat(CWD, to, kind, Mode::from(0o600), device)?);
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_char_device() {
        node(FileType::CharacterDevice, source.rdev())
    } else if kind.is_block_device() {
        node(FileType::BlockDevice, source.rdev())
    } else if kind.is_fifo() {
        node(FileType::Fifo, 0)
    } else {
        copy_with_holes(&File::open(from)?, &File::create_new(to)?)
    }
}
