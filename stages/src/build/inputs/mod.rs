//! The project's files as data: what a stage's key knows of a copied file or tree.
//!
//! Type, executable bit, content and link target count. Time, owner, group, the other permission bits and the checkout's
//! umask do not, because copies do not get them.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use ibuild_cache::{Batch, BlobId, FileStamp, MemoEntry, Store, Table};
use ibuild_graph::Value;

use super::StageError;
use crate::snapshot::hash_file;

/// Reads input files, and remembers digests of files that have not changed.
pub(super) struct Inputs<'s> {
    store: &'s Store,
    learnt: Mutex<BTreeMap<[u8; 16], MemoEntry>>,
}

impl<'s> Inputs<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self { store, learnt: Mutex::default() }
    }

    /// A file or a whole tree.
    pub(super) fn describe(&self, path: &Path) -> Result<Value, StageError> {
        // The recipe may name a link: what it points to is meant.
        let meta = fs::metadata(path).map_err(StageError::io("read", path))?;
        if !meta.is_dir() {
            return self.file(path, &meta);
        }
        let mut entries = BTreeMap::new();
        self.tree(path, &[], &mut entries)?;
        Ok(Value::Map(entries))
    }

    fn tree(&self, dir: &Path, prefix: &[u8], into: &mut BTreeMap<Vec<u8>, Value>) -> Result<(), StageError> {
        for child in fs::read_dir(dir).map_err(StageError::io("read", dir))? {
            let child = child.map_err(StageError::io("read", dir))?;
            let (path, mut name) = (child.path(), prefix.to_vec());
            name.extend_from_slice(child.file_name().as_bytes());
            let meta = fs::symlink_metadata(&path).map_err(StageError::io("read", &path))?;
            into.insert(name.clone(), self.entry(&path, &meta)?);
            if meta.is_dir() {
                name.push(b'/');
                self.tree(&path, &name, into)?;
            }
        }
        Ok(())
    }

    fn entry(&self, path: &Path, meta: &Metadata) -> Result<Value, StageError> {
        if meta.is_dir() {
            return Ok("directory".into());
        }
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(StageError::io("read", path))?;
            return Ok(Value::map([("link", Value::Bytes(target.into_os_string().into_vec()))]));
        }
        self.file(path, meta)
    }

    fn file(&self, path: &Path, meta: &Metadata) -> Result<Value, StageError> {
        let mode = if meta.mode() & 0o111 == 0 { "file" } else { "executable" };
        let content = self.digest(path, meta)?;
        Ok(Value::map([("type", mode.into()), ("content", Value::Digest(*content.as_bytes()))]))
    }

    /// The digest of a file's bytes. A file that looks as it did when it was read is not read again.
    fn digest(&self, path: &Path, meta: &Metadata) -> Result<BlobId, StageError> {
        let stamp = FileStamp::of(meta);
        let key = stamp.key();
        let known: Option<MemoEntry> = self.store.index().record(Table::Memo, &key)?;
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return Ok(known.digest);
        }
        let digest = hash_file(&fs::canonicalize(path).map_err(StageError::io("read", path))?)?;
        let after = fs::metadata(path).map_err(StageError::io("read", path))?;
        if FileStamp::of(&after) == stamp && stamp.is_settled(SystemTime::now()) {
            self.learnt.lock().expect("no panic while held").insert(key, MemoEntry { stamp, digest });
        }
        Ok(digest)
    }

    /// Writes down what was learnt.
    pub(super) fn flush(&self) -> Result<(), StageError> {
        let mut batch = Batch::default();
        for (key, entry) in std::mem::take(&mut *self.learnt.lock().expect("no panic while held")) {
            batch.put_record(Table::Memo, &key, &entry);
        }
        Ok(self.store.index().commit(batch)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use ibuild_cache::MemoryIndex;

    use super::*;

    struct Lab {
        root: tempfile::TempDir,
        store: Store,
    }

    impl Lab {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
            let tree = root.path().join("tree");
            fs::create_dir_all(tree.join("etc")).unwrap();
            fs::write(tree.join("etc/a"), "a").unwrap();
            symlink("a", tree.join("etc/link")).unwrap();
            Self { root, store }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.root.path().join("tree").join(name)
        }

        fn describe(&self) -> Value {
            Inputs::new(&self.store).describe(&self.path("")).unwrap()
        }
    }

    #[track_caller]
    fn check(edit: impl FnOnce(&Lab), expect_change: bool) {
        let lab = Lab::new();
        let before = lab.describe();
        edit(&lab);
        assert_eq!(lab.describe() != before, expect_change);
    }

    #[test]
    fn every_change_that_a_copy_would_show_counts() {
        check(|lab| fs::write(lab.path("etc/a"), "b").unwrap(), true);
        check(|lab| fs::set_permissions(lab.path("etc/a"), fs::Permissions::from_mode(0o755)).unwrap(), true);
        check(|lab| fs::remove_file(lab.path("etc/a")).unwrap(), true);
        check(|lab| fs::rename(lab.path("etc/a"), lab.path("etc/b")).unwrap(), true);
        check(|lab| fs::create_dir(lab.path("empty")).unwrap(), true);
        check(
            |lab| {
                fs::remove_file(lab.path("etc/link")).unwrap();
                symlink("b", lab.path("etc/link")).unwrap();
            },
            true,
        );
        check(
            |lab| {
                fs::remove_file(lab.path("etc/link")).unwrap();
                fs::write(lab.path("etc/link"), "a").unwrap();
            },
            true,
        );
    }

    #[test]
    fn what_a_copy_would_not_show_does_not() {
        check(
            |lab| fs::set_permissions(lab.path("etc/a"), fs::Permissions::from_mode(0o600)).unwrap(),
            false,
        );
        check(|lab| fs::set_permissions(lab.path("etc"), fs::Permissions::from_mode(0o700)).unwrap(), false);
        check(|lab| fs::write(lab.path("etc/a"), "a").unwrap(), false);
    }

    #[test]
    fn a_remembered_digest_is_used_only_for_the_same_file() {
        let lab = Lab::new();
        let path = lab.path("etc/a");
        let old = SystemTime::now() - std::time::Duration::from_secs(3600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let stamp = FileStamp::of(&fs::metadata(&path).unwrap());
        let wrong = MemoEntry { stamp: stamp.clone(), digest: BlobId::from_bytes([7; 32]) };
        let mut batch = Batch::default();
        batch.put_record(Table::Memo, &stamp.key(), &wrong);
        lab.store.index().commit(batch).unwrap();
        let digest = |lab: &Lab| {
            let meta = fs::metadata(lab.path("etc/a")).unwrap();
            Inputs::new(&lab.store).digest(&lab.path("etc/a"), &meta).unwrap()
        };
        assert_eq!(digest(&lab), wrong.digest, "the memo was not asked");
        fs::write(&path, "b").unwrap();
        assert_ne!(digest(&lab), wrong.digest, "the memo was believed for another file");
    }
}
