//! Content of the project by its digest: lists of what a copy has, and private copies that are checked while they are made.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ibuild_cache::TreeId;
use rayon::prelude::*;

use super::Inputs;
use crate::StageError;
use crate::executor::shown::{make_directory, set_time};
use crate::sandbox::{CopyList, Executable, ListedFile, ListedKind, ProjectContent};
use crate::snapshot::{Copying, Entry, Kind, SourceRoot, copy_verified};

/// So many files are not worth another thread.
const FEW: usize = 64;

impl Inputs<'_> {
    /// Where in the project there was such content when it was resolved. What is there by now may be something else.
    pub(crate) fn source(&self, content: &ProjectContent) -> Result<PathBuf, StageError> {
        let sources = self.sources.lock().expect("no panic while held");
        let found = sources.get(&content_digest(content)).cloned();
        found.ok_or_else(|| StageError::InputsChanged("the project".to_owned()))
    }

    /// The files of such content.
    pub(crate) fn list(&self, content: &ProjectContent) -> Result<CopyList, StageError> {
        let mut list = CopyList::default();
        match content {
            ProjectContent::File { content, size, access } => {
                let kind = ListedKind::File { content: *content, size: *size, access: *access };
                list.files.push(ListedFile { path: Vec::new(), kind });
            }
            ProjectContent::Tree(tree) => self.list_tree(*tree, &mut list.files)?,
        }
        Ok(list)
    }

    /// Each directory before what is in it.
    fn list_tree(&self, tree: TreeId, files: &mut Vec<ListedFile>) -> Result<(), StageError> {
        let Kind::Directory(root) = self.trees.root(tree)?.kind else { return Ok(()) };
        let mut open = vec![(Vec::new(), root)];
        while let Some((path, directory)) = open.pop() {
            for (name, entry) in self.trees.listing(directory)?.entries {
                let path = if path.is_empty() { name } else { [&path[..], b"/", &name[..]].concat() };
                if let Kind::Directory(below) = entry.kind {
                    open.push((path.clone(), below));
                }
                files.extend(listed(path, entry));
            }
        }
        Ok(())
    }

    /// Makes a copy of such content at `to`, over what is there. It has owner and modes of the content and the time `epoch`.
    pub(crate) fn lay_out(&self, content: &ProjectContent, to: &Path, epoch: i64) -> Result<(), StageError> {
        let (source, list) = (self.source(content)?, self.list(content)?);
        let root = SourceRoot::open(&source).map_err(StageError::io("read", &source))?;
        if let ProjectContent::Tree(_) = content {
            make_directory(to)?;
        }
        let copy = Copy { root: &root, source: &source, to, epoch };
        list.files.iter().try_for_each(|file| copy.without_bytes(file))?;
        list.files.par_iter().with_min_len(FEW).try_for_each(|file| copy.bytes(file))?;
        // From the bottom up: what is put into a directory changes its time.
        let directories = list.files.iter().rev().filter(|file| file.kind == ListedKind::Directory);
        directories.map(|file| copy.place(file)).try_for_each(|dir| set_time(&dir, epoch))?;
        set_time(to, epoch)
    }
}

/// What names such content.
pub(super) fn content_digest(content: &ProjectContent) -> [u8; 32] {
    match content {
        ProjectContent::File { content, .. } => *content.as_bytes(),
        ProjectContent::Tree(tree) => *tree.as_bytes(),
    }
}

/// An entry of a scanned directory.
fn listed(path: Vec<u8>, Entry { meta, kind }: Entry) -> Option<ListedFile> {
    let kind = match kind {
        Kind::Directory(_) => ListedKind::Directory,
        Kind::Symlink(target) => ListedKind::Symlink(target),
        Kind::File { content, size, .. } => {
            ListedKind::File { content, size, access: Executable::of_mode(meta.mode) }
        }
        // A scan refuses those.
        Kind::Char(..) | Kind::Block(..) | Kind::Fifo => return None,
    };
    Some(ListedFile { path, kind })
}

/// A copy in the making.
struct Copy<'a> {
    root: &'a SourceRoot,
    source: &'a Path,
    to: &'a Path,
    epoch: i64,
}

impl Copy<'_> {
    fn place(&self, file: &ListedFile) -> PathBuf {
        if file.path.is_empty() { self.to.to_owned() } else { self.to.join(OsStr::from_bytes(&file.path)) }
    }

    /// Directories and links.
    fn without_bytes(&self, file: &ListedFile) -> Result<(), StageError> {
        let to = self.place(file);
        match &file.kind {
            ListedKind::Directory => make_directory(&to),
            ListedKind::Symlink(target) => {
                clear(&to)?;
                symlink(OsStr::from_bytes(target), &to).map_err(StageError::io("create", &to))?;
                set_time(&to, self.epoch)
            }
            ListedKind::File { .. } => Ok(()),
        }
    }

    fn bytes(&self, file: &ListedFile) -> Result<(), StageError> {
        let ListedKind::File { content, size, access } = &file.kind else { return Ok(()) };
        let (path, to) = (Path::new(OsStr::from_bytes(&file.path)), self.place(file));
        let changed = || StageError::InputsChanged(self.source.join(path).display().to_string());
        let from = self.root.open_file(path).map_err(|_| changed())?;
        clear(&to)?;
        let target = File::options().read(true).write(true).create_new(true).mode(0o600).open(&to);
        let target = target.map_err(StageError::io("create", &to))?;
        match copy_verified(&from, &target, *size, content).map_err(StageError::io("copy", &to))? {
            Copying::Changed => Err(changed()),
            Copying::Verified => {
                let mode = Permissions::from_mode(access.mode());
                target.set_permissions(mode).map_err(StageError::io("lay out", &to))?;
                set_time(&to, self.epoch)
            }
        }
    }
}

/// Makes room for a file or a link.
fn clear(to: &Path) -> Result<(), StageError> {
    match fs::symlink_metadata(to) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(to).map_err(StageError::io("replace", to)),
        Ok(_) => fs::remove_file(to).map_err(StageError::io("replace", to)),
        Err(_) => Ok(()),
    }
}
