//! What the machines of a trial get to see of the project: a tarball that they read from a second disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, Digest};
use tar::{Builder, EntryType, Header};

use super::error::TrialError;

/// The files below `paths`, relative to `dir`, in the order of their names; directories come before what is in them.
fn files_of(dir: &Path, paths: &[PathBuf]) -> Result<Vec<PathBuf>, TrialError> {
    let mut found = Vec::new();
    for path in paths {
        walk(dir, path, &mut found)?;
    }
    Ok(found)
}

fn walk(dir: &Path, path: &Path, found: &mut Vec<PathBuf>) -> Result<(), TrialError> {
    let full = dir.join(path);
    found.push(path.to_owned());
    if full.is_dir() {
        let entries = fs::read_dir(&full).and_then(|entries| entries.map(|e| Ok(e?.file_name())).collect());
        let mut names: Vec<_> = entries.map_err(TrialError::io("list", &full))?;
        names.sort();
        names.iter().try_for_each(|name| walk(dir, &path.join(name), found))?;
    }
    Ok(())
}

/// The names of all files, and the digests of what is in them: what of the project can change a trial.
pub fn file_digests(dir: &Path, paths: &[PathBuf]) -> Result<Vec<(String, String)>, TrialError> {
    let mut digests = Vec::new();
    for path in files_of(dir, paths)? {
        let full = dir.join(&path);
        if full.is_file() {
            let bytes = fs::read(&full).map_err(TrialError::io("read", &full))?;
            let mut hasher = <BlobId as Digest>::Hasher::default();
            BlobId::update(&mut hasher, &bytes);
            digests.push((path.display().to_string(), BlobId::finish(hasher).hex()));
        }
    }
    Ok(digests)
}

/// Writes the tarball. Links are followed: what they lead to is what is meant.
pub(super) fn write_tarball(dir: &Path, paths: &[PathBuf], to: &Path) -> Result<(), TrialError> {
    let file = File::create(to).map_err(TrialError::io("create", to))?;
    let mut tarball = Builder::new(file);
    for path in files_of(dir, paths)? {
        append(&mut tarball, dir, &path)?;
    }
    tarball.into_inner().map(drop).map_err(TrialError::io("write", to))
}

fn append(tarball: &mut Builder<File>, dir: &Path, path: &Path) -> Result<(), TrialError> {
    let full = dir.join(path);
    let mut header = Header::new_ustar();
    header.set_mode(0o755);
    header.set_mtime(0);
    let bytes = if full.is_dir() {
        header.set_entry_type(EntryType::Directory);
        Vec::new()
    } else {
        fs::read(&full).map_err(TrialError::io("read", &full))?
    };
    header.set_size(bytes.len() as u64);
    tarball.append_data(&mut header, path, bytes.as_slice()).map_err(TrialError::io("pack", &full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tarball_has_all_files_below_and_the_digests_know_their_contents() {
        let project = tempfile::tempdir().unwrap();
        fs::create_dir_all(project.path().join("tests/lib")).unwrap();
        fs::write(project.path().join("tests/a"), "one").unwrap();
        fs::write(project.path().join("tests/lib/b"), "two").unwrap();
        fs::write(project.path().join("other"), "three").unwrap();
        let wanted = [PathBuf::from("tests")];
        let tarball = project.path().join("files.tar");
        write_tarball(project.path(), &wanted, &tarball).unwrap();
        let mut archive = tar::Archive::new(File::open(&tarball).unwrap());
        let names = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["tests", "tests/a", "tests/lib", "tests/lib/b"]);
        let before = file_digests(project.path(), &wanted).unwrap();
        fs::write(project.path().join("tests/lib/b"), "2").unwrap();
        let after = file_digests(project.path(), &wanted).unwrap();
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
    }
}
