//! Lays out what a stage is shown, in a private directory: content by digest, owner, modes and times as the value says.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::StageError;
use crate::executor::base::lay_out_packages;
use crate::executor::context::StageContext;
use crate::packages::DebRef;
use crate::sandbox::{OUTPUT_DIR, SHOWN_DIR, Shown, ShownContent};

/// A place for what a stage is shown.
pub(crate) struct ShownPlace<'a> {
    /// The stage's work directory.
    pub run_dir: &'a Path,
    /// The time that everything gets, seconds since 1970.
    pub epoch: i64,
    /// The packages of a bootstrap.
    pub base_packages: &'a [DebRef],
}

impl ShownPlace<'_> {
    /// Lays out everything that is shown. What lies within something else is laid out after it.
    pub(crate) fn lay_out(&self, context: &StageContext<'_>, shown: &[Shown]) -> Result<(), StageError> {
        let mut sorted: Vec<_> = shown.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        sorted.into_iter().try_for_each(|shown| self.lay_out_one(context, shown))
    }

    fn lay_out_one(&self, context: &StageContext<'_>, shown: &Shown) -> Result<(), StageError> {
        let top = if shown.content == ShownContent::Output { OUTPUT_DIR } else { SHOWN_DIR };
        let path = self.make_way(&self.run_dir.join(top), &shown.path)?;
        match &shown.content {
            ShownContent::Program(bytes) => self.file(&path, bytes, 0o755)?,
            ShownContent::Data(bytes) => self.file(&path, bytes, 0o644)?,
            ShownContent::Project(content) => context.inputs().lay_out(content, &path, self.epoch)?,
            ShownContent::Output => return make_directory(&path),
            ShownContent::BasePackages => {
                make_directory(&path)?;
                lay_out_packages(context, self.base_packages, &path)?;
                for deb in fs::read_dir(&path).map_err(StageError::io("read", &path))? {
                    let deb = deb.map_err(StageError::io("read", &path))?.path();
                    self.finish(&deb, 0o644)?;
                }
                self.finish(&path, 0o755)?;
            }
        }
        // Whatever was put into a directory gave it another time.
        let way = shown.path.ancestors().skip(1);
        way.map(|way| self.run_dir.join(top).join(way)).try_for_each(|dir| self.finish(&dir, 0o755))
    }

    /// Makes the directories on the way to `path` below `top`. A link on the way, which something that was laid out before
    /// has there, makes room.
    fn make_way(&self, top: &Path, path: &Path) -> Result<PathBuf, StageError> {
        let mut way = top.to_owned();
        make_directory(&way)?;
        let names: Vec<_> = path.components().collect();
        let (last, parents) = names.split_last().expect("what is shown has a name");
        for parent in parents {
            way.push(plain(parent));
            make_directory(&way)?;
        }
        way.push(plain(last));
        Ok(way)
    }

    fn file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), StageError> {
        fs::write(path, bytes).map_err(StageError::io("write", path))?;
        self.finish(path, mode)
    }

    fn finish(&self, path: &Path, mode: u32) -> Result<(), StageError> {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(StageError::io("lay out", path))?;
        set_time(path, self.epoch)
    }
}

fn plain<'a>(component: &Component<'a>) -> &'a std::ffi::OsStr {
    match component {
        Component::Normal(name) => name,
        // A checked recipe has no such paths.
        _ => unreachable!("what is shown has a plain path"),
    }
}

/// A directory of root's, in place of whatever else is there.
pub(crate) fn make_directory(path: &Path) -> Result<(), StageError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(StageError::io("replace", path))?,
        Err(_) => {}
    }
    fs::create_dir(path).map_err(StageError::io("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(StageError::io("lay out", path))
}

/// Gives a file, or a link itself, a time.
pub(crate) fn set_time(path: &Path, epoch: i64) -> Result<(), StageError> {
    let time = Timespec { tv_sec: epoch, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| StageError::io("set the time of", path)(e.into()))
}
