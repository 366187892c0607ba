//! A key that only this store has.
//!
//! Digests that are made with it tell nothing to who does not have the store, and are other ones in each store.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::blobs::sync_dir;
use crate::{CacheError, Store, temp};

const LENGTH: usize = 32;

impl Store {
    /// The store's own key, which is drawn when it is needed first. Its file can be read by the store's owner alone.
    ///
    /// # Errors
    ///
    /// If it can neither be read nor written.
    pub fn own_key(&self) -> Result<[u8; LENGTH], CacheError> {
        let path = self.layout().own_key();
        loop {
            match fs::read(&path) {
                Ok(bytes) => match bytes.try_into() {
                    Ok(key) => return Ok(key),
                    // With another one all that it went into is missed, and made again.
                    Err(_) => fs::remove_file(&path).map_err(CacheError::io("remove", &path))?,
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.draw_key(&path)?,
                Err(e) => return Err(CacheError::io("read", &path)(e)),
            }
        }
    }

    /// Puts a key into its place, unless another process has been faster.
    fn draw_key(&self, path: &Path) -> Result<(), CacheError> {
        let mut key = [0; LENGTH];
        let random = Path::new("/dev/urandom");
        let drawn = File::open(random).and_then(|mut random| random.read_exact(&mut key));
        drawn.map_err(CacheError::io("read", random))?;
        // A temporary file is its owner's alone.
        let mut temp = temp::create(&self.layout().tmp())?;
        let written = temp.write_all(&key).and_then(|()| temp.as_file().sync_all());
        written.map_err(CacheError::io("write", temp.path()))?;
        match temp.persist_noclobber(path) {
            Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => {
                Err(CacheError::io("create", path)(e.error))
            }
            _ => sync_dir(self.layout().root()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::MemoryIndex;

    #[test]
    fn each_store_has_a_key_of_its_own() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |root: &Path| Store::open(root, |_| MemoryIndex::default()).unwrap();
        let key = open(one.path()).own_key().unwrap();
        assert_eq!(open(one.path()).own_key().unwrap(), key);
        assert_ne!(open(other.path()).own_key().unwrap(), key);
        let path = open(one.path()).layout().own_key();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        // A crash that lost its bytes, or a person who emptied it.
        fs::write(&path, b"").unwrap();
        assert_ne!(open(one.path()).own_key().unwrap(), key);
    }

    #[test]
    fn processes_that_draw_at_once_agree() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
        let draw = || (0..8).map(|_| store.own_key().unwrap()).collect::<Vec<_>>();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|key| *key == all[0]));
    }
}
