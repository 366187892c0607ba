//! Copies of files of the project.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use super::super::copy_list::{CopyList, ListedFile, ListedKind};
use super::super::mounts::{SetupResult, failed};
use super::super::view::Look;
use super::{Copied, Owners, file_on_the_way, full_directory, make_parents, make_room};
use ibuild_host::userns;
use ibuild_snapshot::{Copying, SourceRoot, copy_verified};

/// What is copied of the project by one item.
pub(super) struct Source {
    root: SourceRoot,
    list: CopyList,
}

impl Source {
    pub(super) fn open(path: &Path, list: &Path) -> SetupResult<Self> {
        let bytes = fs::read(list).map_err(failed("read the list of a copy"))?;
        let list = CopyList::from_bytes(&bytes).map_err(failed("read the list of a copy"))?;
        let root = SourceRoot::open(path).map_err(failed(format!("open `{}`", path.display())))?;
        Ok(Self { root, list })
    }
}

/// One item of a copy.
pub(super) struct ProjectCopy<'a> {
    pub source: &'a Source,
    pub to: &'a Path,
    pub owners: Owners,
    pub look: &'a Look,
}

impl ProjectCopy<'_> {
    /// Copies what is listed. What else is there, or came since, is not looked at.
    pub(super) fn run(&self) -> SetupResult<Copied> {
        let files = &self.source.list.files;
        let is_single = matches!(files.as_slice(), [ListedFile { path, .. }] if path.is_empty());
        let inside = if is_single { self.to.to_owned() } else { self.to.join("x") };
        if let Some(file) = file_on_the_way(&inside) {
            return Ok(Copied::InTheWay(file));
        }
        make_parents(&inside, self.look.dirs.unwrap_or(0o755))?;
        for file in files {
            let path = Path::new(OsStr::from_bytes(&file.path));
            let to = if is_single { self.to.to_owned() } else { self.to.join(path) };
            let copied = match &file.kind {
                ListedKind::Directory => self.directory(&to).map(|()| None),
                ListedKind::Symlink(target) => self.symlink(target, &to).map(|()| None),
                kind @ ListedKind::File { .. } => self.file(path, kind, &to),
            };
            let in_the_way = |reason| full_directory(&to).map(Copied::InTheWay).map(Some).ok_or(reason);
            if let Some(end) = copied.or_else(in_the_way)? {
                return Ok(end);
            }
        }
        Ok(Copied::All)
    }

    /// A directory that the tree has keeps its owner and mode: a copy to `/` is not to change `/`.
    fn directory(&self, to: &Path) -> SetupResult {
        if to.is_dir() {
            return Ok(());
        }
        let act = || format!("create `{}`", to.display());
        make_room(to).and_then(|()| fs::create_dir(to)).map_err(failed(act()))?;
        self.give(to)?;
        fs::set_permissions(to, Permissions::from_mode(self.look.dirs.unwrap_or(0o755)))
            .map_err(failed(act()))
    }

    fn symlink(&self, target: &[u8], to: &Path) -> SetupResult {
        let act = format!("copy to `{}`", to.display());
        make_room(to).and_then(|()| symlink(OsStr::from_bytes(target), to)).map_err(failed(act))?;
        self.give(to)
    }

    fn file(&self, path: &Path, kind: &ListedKind, to: &Path) -> SetupResult<Option<Copied>> {
        let ListedKind::File { content, size, access } = kind else { return Ok(None) };
        let act = || format!("copy to `{}`", to.display());
        let changed = || Ok(Some(Copied::SourceChanged(path.display().to_string())));
        let Ok(from) = self.source.root.open_file(path) else { return changed() };
        make_room(to).map_err(failed(act()))?;
        let target = create(to).map_err(failed(act()))?;
        if copy_verified(&from, &target, *size, content).map_err(failed(act()))? == Copying::Changed {
            return changed();
        }
        self.give(to)?;
        let mode = self.look.mode.unwrap_or(access.mode());
        target.set_permissions(Permissions::from_mode(mode)).map_err(failed(act()))?;
        Ok(None)
    }

    fn give(&self, to: &Path) -> SetupResult {
        let Owners { uid, gid } = self.owners;
        lchown(to, Some(uid), Some(gid))
            .map_err(|e| userns::explain_owner(e, uid, gid))
            .map_err(failed(format!("copy to `{}`", to.display())))
    }
}

fn create(to: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(to)
}
