//! Takes packages into the store that lie around elsewhere: in another cache, in apt's own, on a disc.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use ibuild_cache::{Digest, Sha256, Store};

use crate::PackageError;
use ibuild_debian::deb::is_whole;

const PIECE: usize = 1 << 18;

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Packages that were not in the store.
    pub added: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packages that were there already.
    pub known: usize,
    /// Files that are no packages, or not whole.
    pub skipped: usize,
}

/// Takes every .deb below a directory into the store. Neither names nor places are believed: a package is named by its
/// bytes, and is used once an archive's signed index names the same. Links are not followed.
pub fn import(store: &Store, dir: &Path) -> Result<Imported, PackageError> {
    let mut imported = Imported::default();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for path in entries(&dir)? {
            let kind = fs::symlink_metadata(&path).map_err(PackageError::io("look at", &path))?.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && is_named_deb(&path) {
                import_file(store, &path, &mut imported)?;
            }
        }
    }
    Ok(imported)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<_> = listed.map_err(PackageError::io("read", dir))?;
    paths.sort();
    Ok(paths)
}

/// Other kinds of files are many, and reading all of them would take long.
fn is_named_deb(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "deb" || extension == "udeb" || extension == "ddeb")
}

fn import_file(store: &Store, path: &Path, imported: &mut Imported) -> Result<(), PackageError> {
    if !is_whole(path)? {
        imported.skipped += 1;
        return Ok(());
    }
    let packages = store.packages();
    let mut file = File::open(path).map_err(PackageError::io("open", path))?;
    let (sha256, size) = digest(&mut file).map_err(PackageError::io("read", path))?;
    if packages.size(&sha256)? == Some(size) {
        imported.known += 1;
        return Ok(());
    }
    let mut writer = packages.writer()?;
    let copied = file.rewind().and_then(|()| io::copy(&mut file, &mut writer));
    copied.map_err(PackageError::io("copy", path))?;
    imported.bytes += writer.finish()?.size;
    imported.added += 1;
    Ok(())
}

fn digest(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut size) = (<Sha256 as Digest>::Hasher::default(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((Sha256::finish(hasher), size)),
            count => {
                Sha256::update(&mut hasher, &buffer[..count]);
                size += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_cache::MemoryIndex;

    /// A .deb with nothing in it.
    fn deb(noise: &str) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for name in ["debian-binary", "control.tar", "data.tar"] {
            let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, noise.len());
            bytes.extend([header.as_bytes(), noise.as_bytes()].concat());
            bytes.extend(vec![b'\n'; noise.len() % 2]);
        }
        bytes
    }

    #[test]
    fn packages_are_found_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
        let tree = dir.path().join("acng/deb.debian.org/pool");
        fs::create_dir_all(&tree).unwrap();
        for (name, bytes) in [
            ("a_1_amd64.deb", deb("a")),
            ("wrong name.deb", deb("bb")),
            ("again_1_amd64.deb", deb("a")),
            ("cut_1_amd64.deb", deb("long")[..150].to_vec()),
            ("empty_1_amd64.deb", Vec::new()),
            ("page_1_amd64.deb", b"<html>sign in</html>".to_vec()),
            ("a_1_amd64.deb.head", b"HTTP/1.1 200 OK".to_vec()),
        ] {
            fs::write(tree.join(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink("/", tree.join("loop.deb")).unwrap();
        let imported = import(&store, &dir.path().join("acng")).unwrap();
        let bytes = (deb("a").len() + deb("bb").len()) as u64;
        assert_eq!(imported, Imported { added: 2, bytes, known: 1, skipped: 3 });
        let found = store.packages().list().unwrap();
        assert_eq!(found.len(), 2);
        for stored in found {
            assert_eq!(store.packages().verify(&stored.digest).unwrap(), Some(true));
        }
        assert!(import(&store, &dir.path().join("none")).is_err());
    }
}
