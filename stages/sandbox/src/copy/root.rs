//! Copies out of another root file system: everything as it is there, owner, mode, attributes and times included.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::mounts::{SetupResult, failed};
use super::{make_parents, make_room};
use ibuild_snapshot::{Side, copy_node, dress};
use ibuild_spec::RUN_DIR;

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
        dress(from, to, source, Side::Overlay).map_err(failed(format!("copy to `{}`", to.display())))
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
        copy_node(from, to, source, Side::Overlay).map_err(failed(act()))
    }
}
