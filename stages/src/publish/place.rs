//! The place of an image among the files that people have, and files on their way there.
//!
//! An image and its manifest cannot get their names at once. The manifest says what the image beside it is; so one that says
//! something else goes before the image comes, and the new one comes last. Whoever finds one finds it beside the image that it is of,
//! wherever a build was killed.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ibuild_cache::sweep_file;
use tempfile::NamedTempFile;

use crate::StageError;
use crate::publish::plain::make_plain;

/// With this begin the names of files on their way.
const PREFIX: &str = ".ibuild-";

/// Where an image goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'p> {
    /// The directory.
    pub dir: &'p Path,
    /// The image.
    pub image: &'p Path,
    /// The manifest that is of another image and must not lie beside this one.
    pub stale: Option<&'p Path>,
}

impl Place<'_> {
    /// Lets `put` give an image its name.
    pub(crate) fn fill(&self, put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        if let Some(stale) = self.stale {
            match fs::remove_file(stale) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        put(self.image)
    }

    /// Whether a file could come here by a new name alone.
    pub(crate) fn is_in_reach_of(&self, file: &Path) -> bool {
        are_on_one_file_system(self.dir, file)
    }

    /// Whether a file could take turns with the image that is here.
    pub(crate) fn has_image_in_reach_of(&self, file: &Path) -> bool {
        are_on_one_file_system(self.image, file)
    }
}

fn are_on_one_file_system(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    device(one).is_some_and(|device_of_one| device(other) == Some(device_of_one))
}

/// A new file in `dir`. It is locked, so that what a killed process has left can be told from what is being written. Where there
/// are no locks, nobody sweeps either.
pub(crate) fn temp_in(dir: &Path) -> Result<NamedTempFile, StageError> {
    let error = || StageError::io("write into", dir);
    loop {
        let temp = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir).map_err(error())?;
        let is_locked = temp.as_file().lock().is_ok();
        // Who sweeps may have come between the making and the locking.
        if !is_locked || temp.as_file().metadata().map_err(error())?.nlink() > 0 {
            return Ok(temp);
        }
    }
}

/// Removes what killed builds have left in `dir`. What cannot be removed is in nobody's way.
pub(crate) fn sweep(dir: &Path) {
    let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let is_ours = |name: &str| name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 6);
    let left = files.filter(|file| file.file_name().to_str().is_some_and(is_ours));
    left.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())).for_each(|file| {
        let _ = sweep_file(&file.path());
    });
}

/// Makes a file durable that is to get a name. Until then it was nobody's but ours.
pub(crate) fn flush(temp: NamedTempFile, path: &Path) -> Result<NamedTempFile, StageError> {
    let flushed = make_plain(temp.as_file()).and_then(|()| temp.as_file().sync_data());
    flushed.map_err(StageError::io("write", path))?;
    Ok(temp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_has_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| dir.path().join(name);
        let being_written = temp_in(dir.path()).unwrap();
        // As if the process had been killed: the lock is gone, the file is not.
        let (_, left) = temp_in(dir.path()).unwrap().keep().unwrap();
        fs::write(path(".ibuild-notes of mine"), "").unwrap();
        fs::create_dir(path(".ibuild-abcdef")).unwrap();
        fs::write(path("x.ova"), "").unwrap();
        sweep(dir.path());
        assert!(being_written.path().exists() && !left.exists());
        assert!([".ibuild-notes of mine", ".ibuild-abcdef", "x.ova"].iter().all(|name| path(name).exists()));
    }

    #[test]
    fn a_manifest_of_another_image_is_gone_before_the_image_comes() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (image, stale) = (dir.path().join("x.ova"), dir.path().join("x.ova.manifest.json"));
        fs::write(&stale, "of another").unwrap();
        let place = |stale| Place { dir: dir.path(), image: &image, stale };
        place(None)
            .fill(|_| {
                assert!(stale.exists());
                Ok(())
            })
            .unwrap();
        place(Some(&stale))
            .fill(|_| {
                assert!(!stale.exists());
                Ok(())
            })
            .unwrap();
        place(Some(&stale)).fill(|path| fs::write(path, "new")).unwrap();
        assert_eq!(fs::read_to_string(&image).unwrap(), "new");
    }
}
