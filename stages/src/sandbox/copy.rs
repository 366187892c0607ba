//! Copies files into the tree, from inside: paths resolve as they do for any program there, and cannot lead out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::inject::text;
use super::mounts::{SetupResult, failed};
use super::spec::{CopyItem, CopyStyle};
use crate::snapshot::{Side, copy_times, copy_xattrs};
use crate::userns;

/// Does the items one after the other: later ones win.
pub(super) fn copy(items: &[CopyItem]) -> SetupResult {
    for item in items {
        let dress = Dress::resolve(&item.style)?;
        let mut links = BTreeMap::new();
        if item.from.is_dir() {
            parents(&item.to.join("x"), &dress)?;
            match &item.list {
                Some(list) => listed(list, item, &dress, &mut links)?,
                None => content(&item.from, &item.to, &dress, &mut links)?,
            }
        } else {
            parents(&item.to, &dress)?;
            entry(&item.from, &item.to, &dress, &mut links)?;
        }
    }
    Ok(())
}

/// The first copy of each inode that has several names.
type Links = BTreeMap<(u64, u64), std::path::PathBuf>;

/// How copies look, with names of users turned into the image's numbers.
enum Dress {
    Uniform { uid: u32, gid: u32, mode: Option<u32>, dirs: u32 },
    Preserve,
}

impl Dress {
    fn resolve(style: &CopyStyle) -> SetupResult<Self> {
        let CopyStyle::FromHost { owner, group, mode, dirs } = style else { return Ok(Self::Preserve) };
        let uid = owner.as_deref().map_or(Ok(0), |owner| account(owner, "/etc/passwd"))?;
        let gid = group.as_deref().map_or(Ok(0), |group| account(group, "/etc/group"))?;
        Ok(Self::Uniform { uid, gid, mode: *mode, dirs: dirs.unwrap_or(0o755) })
    }

    fn apply(&self, source: &Metadata, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Uniform { uid, gid, mode, dirs } => {
                lchown(to, Some(*uid), Some(*gid)).map_err(|e| userns::explain_owner(e, *uid, *gid))?;
                let by_bit = if source.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                let mode = if source.is_dir() { *dirs } else { mode.unwrap_or(by_bit) };
                set_mode(source, to, mode)
            }
            Self::Preserve => {
                lchown(to, Some(source.uid()), Some(source.gid()))?;
                set_mode(source, to, source.mode() & 0o7777)?;
                copy_xattrs(from, to, Side::Overlay)?;
                copy_times(source, to)
            }
        }
    }
}

fn set_mode(source: &Metadata, to: &Path, mode: u32) -> io::Result<()> {
    if source.is_symlink() { Ok(()) } else { fs::set_permissions(to, fs::Permissions::from_mode(mode)) }
}

/// A number, or a name in the image's own table of users or groups.
fn account(name: &str, table: &str) -> SetupResult<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = text(Path::new(table)).map_err(failed(format!("read `{table}` in the image")))?;
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    let number = line.and_then(|fields| fields.get(2)?.parse().ok());
    number.ok_or_else(|| format!("there is no `{name}` in the image's `{table}`"))
}

/// Makes the directories on the way, which belong to root unless the copy says otherwise.
fn parents(path: &Path, dress: &Dress) -> SetupResult {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    parents(parent, dress)?;
    let act = || format!("create `{}`", parent.display());
    fs::create_dir(parent).map_err(failed(act()))?;
    let mode = if let Dress::Uniform { dirs, .. } = dress { *dirs } else { 0o755 };
    fs::set_permissions(parent, fs::Permissions::from_mode(mode)).map_err(failed(act()))
}

/// Copies what is listed. What else is there, or came since, is not looked at.
fn listed(list: &Path, item: &CopyItem, dress: &Dress, links: &mut Links) -> SetupResult {
    let paths = fs::read(list).map_err(failed(format!("read `{}`", list.display())))?;
    for path in paths.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = Path::new(OsStr::from_bytes(path));
        let (from, to) = (item.from.join(path), item.to.join(path));
        match look(&from)? {
            source if source.is_dir() => make_directory(&from, &to, &source, dress)?,
            source => file(&from, &to, &source, dress, links)?,
        }
    }
    Ok(())
}

fn look(path: &Path) -> SetupResult<Metadata> {
    fs::symlink_metadata(path).map_err(failed(format!("look at `{}`", path.display())))
}

fn content(from: &Path, to: &Path, dress: &Dress, links: &mut Links) -> SetupResult {
    let act = || format!("read `{}`", from.display());
    let mut names = Vec::new();
    for child in fs::read_dir(from).map_err(failed(act()))? {
        names.push(child.map_err(failed(act()))?.file_name());
    }
    names.sort();
    names.iter().try_for_each(|name| entry(&from.join(name), &to.join(name), dress, links))
}

fn entry(from: &Path, to: &Path, dress: &Dress, links: &mut Links) -> SetupResult {
    match look(from)? {
        source if source.is_dir() => {
            make_directory(from, to, &source, dress)?;
            content(from, to, dress, links)
        }
        source => file(from, to, &source, dress, links),
    }
}

fn file(from: &Path, to: &Path, source: &Metadata, dress: &Dress, links: &mut Links) -> SetupResult {
    let act = || format!("copy to `{}`", to.display());
    make_room(to).map_err(failed(act()))?;
    if source.nlink() > 1 && matches!(dress, Dress::Preserve) {
        if let Some(first) = links.get(&(source.dev(), source.ino())) {
            return fs::hard_link(first, to).map_err(failed(act()));
        }
        links.insert((source.dev(), source.ino()), to.to_owned());
    }
    make(from, to, source).and_then(|()| dress.apply(source, from, to)).map_err(failed(act()))
}

/// A directory that the tree has keeps its owner and mode: a copy to `/` is not to change `/`.
fn make_directory(from: &Path, to: &Path, source: &Metadata, dress: &Dress) -> SetupResult {
    if !to.is_dir() {
        let act = || format!("create `{}`", to.display());
        make_room(to).and_then(|()| fs::create_dir(to)).map_err(failed(act()))?;
        dress.apply(source, from, to).map_err(failed(act()))?;
    }
    Ok(())
}

/// Replaces what is there. A directory is in the way of a file only if it is not empty.
fn make_room(to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(to),
        Ok(_) => fs::remove_file(to),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
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
        fs::copy(from, to).map(drop)
    }
}
