//! Copies files into the tree, from inside: targets resolve as they do for any program there, and cannot lead out.
//!
//! Files of the project are read below a descriptor that was opened before the root changed, and are compared with the
//! digests of the key while they are copied: what reaches the tree is what was hashed, whatever happens to the project
//! meanwhile.

mod fetched;
mod project;
mod root;
mod sources;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::InTheWay;
use super::inject::text;
use super::mounts::{SetupResult, failed};
use super::spec::Spec;
use super::view::{CopySource, Look, Payload};
use fetched::FetchedCopy;
use project::ProjectCopy;
pub(super) use sources::Sources;

/// What came of a copy.
pub(super) enum Copied {
    /// All of it is there.
    All,
    /// The project no longer has what the key says at this path.
    SourceChanged(String),
    /// The image has something else where it was to go.
    InTheWay(InTheWay),
    /// A fetched archive that cannot be unpacked, for this reason.
    NotUnpacked(String),
}

/// Does the items of a copy one after the other: later ones win.
pub(super) fn copy(spec: &Spec, sources: &Sources) -> SetupResult<Copied> {
    let Payload::Copy(items) = &spec.payload else { return Ok(Copied::All) };
    for (number, item) in items.iter().enumerate() {
        match &item.source {
            CopySource::Root { path, .. } => root::copy(path, &item.to)?,
            CopySource::Project { look, .. } => {
                let source = sources.of_project(number)?;
                let copied =
                    ProjectCopy { source, to: &item.to, owners: Owners::resolve(look)?, look }.run()?;
                if !matches!(copied, Copied::All) {
                    return Ok(copied);
                }
            }
            CopySource::Fetched { content, form, look } => {
                let owners = Owners::resolve(look)?;
                let file = sources.fetched(number)?;
                let epoch = spec.epoch;
                let copied = FetchedCopy { file, content, to: &item.to, owners, look, epoch }.run(*form)?;
                if !matches!(copied, Copied::All) {
                    return Ok(copied);
                }
            }
        }
    }
    Ok(Copied::All)
}

/// Whose copies are, with names of users turned into the image's numbers.
struct Owners {
    uid: u32,
    gid: u32,
}

impl Owners {
    fn resolve(look: &Look) -> SetupResult<Self> {
        let uid = look.owner.as_deref().map_or(Ok(0), |owner| account(owner, "/etc/passwd"))?;
        let gid = look.group.as_deref().map_or(Ok(0), |group| account(group, "/etc/group"))?;
        Ok(Self { uid, gid })
    }
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

/// The file on the way to `path` that would have to be a directory, if there is one.
fn file_on_the_way(path: &Path) -> Option<InTheWay> {
    let there = path.ancestors().skip(1).find(|above| above.exists())?;
    (!there.is_dir()).then(|| InTheWay::File(there.display().to_string()))
}

/// The directory at `path` that no file can take the place of, if there is one.
fn full_directory(path: &Path) -> Option<InTheWay> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let is_full = is_dir && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    is_full.then(|| InTheWay::Directory(path.display().to_string()))
}

/// Makes the directories on the way to `path`, which belong to root.
fn make_parents(path: &Path, mode: u32) -> SetupResult {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    make_parents(parent, mode)?;
    let act = || format!("create `{}`", parent.display());
    fs::create_dir(parent).map_err(failed(act()))?;
    fs::set_permissions(parent, fs::Permissions::from_mode(mode)).map_err(failed(act()))
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
