//! Where the disks of finished images, and their compressed grains, can be found again: in the files that were made of them.
//!
//! For each target the index knows the last file, the grains in it, and which disks they are. That is a hint and nothing more: a row without its
//! file, or a grain that is not what its row says, only means that grains are compressed again.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use ibuild_cache::{ActionKey, Batch, BlobId, Encoder, Record, Store, Table};

use super::StageError;
use crate::disk::{FoundVmdk, Pack, PackRecord};

/// More grains would not go into one row; so much is 50 GiB of content.
const MOST: usize = 800_000;

/// The grains of a store.
pub(super) struct GrainMemory<'s> {
    store: &'s Store,
}

impl<'s> GrainMemory<'s> {
    /// The grains of `store`.
    pub(super) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// The last files of these targets of a project, as far as they are there.
    pub(super) fn find<T: ToString>(&self, project: &str, targets: &[T]) -> Result<LastFiles, StageError> {
        let mut files = Vec::new();
        for target in targets {
            let row = self.store.index().get(Table::Grains, &key(project, &target.to_string()))?;
            let Some(record) = row.as_deref().and_then(parse) else { continue };
            let file = self.store.blobs().open(&record.blob)?;
            files.extend(file.map(|file| (Arc::new(file), record)));
        }
        Ok(LastFiles { files })
    }

    /// Remembers what is in a file that has just been made.
    pub(super) fn remember(
        &self,
        project: &str,
        target: &str,
        mut record: PackRecord,
    ) -> Result<(), StageError> {
        record.grains.truncate(MOST);
        let mut batch = Batch::default();
        batch.put(Table::Grains, &key(project, target), sealed(&record));
        Ok(self.store.index().commit(batch)?)
    }

    /// Forgets what is known of files that go.
    pub(super) fn forget(&self, gone: &BTreeSet<BlobId>, batch: &mut Batch) -> Result<(), StageError> {
        for (key, row) in self.store.index().scan(Table::Grains, &rows().finish())? {
            if parse(&row).is_none_or(|record| gone.contains(&record.blob)) {
                batch.delete(Table::Grains, &key);
            }
        }
        Ok(())
    }
}

/// Files that were made before.
pub(super) struct LastFiles {
    files: Vec<(Arc<File>, PackRecord)>,
}

impl LastFiles {
    /// A finished VMDK, by the key of what makes it.
    pub(super) fn vmdk(&self, key: &ActionKey) -> Option<FoundVmdk> {
        let of = |record: &PackRecord| record.disks.iter().find(|(made_by, _)| made_by == key).map(|it| it.1);
        let found = self.files.iter().find_map(|(file, record)| Some((file, record, of(record)?)));
        let (file, record, kept) = found?;
        Some(FoundVmdk::new(file.clone(), kept, record.grains.iter().copied()))
    }

    /// All grains.
    pub(super) fn into_packs(self) -> Vec<Pack> {
        self.files.into_iter().map(|(file, record)| Pack::new(file, record.grains)).collect()
    }
}

/// A row of a record. A digest is only trusted from the code that computes it, so a row tells its own.
pub(super) fn sealed(record: &impl Record) -> Vec<u8> {
    let bytes = record.to_bytes();
    [&blake3::hash(&bytes).as_bytes()[..], &bytes].concat()
}

/// The record of a row that is what it was.
pub(super) fn unsealed(row: &[u8]) -> Option<&[u8]> {
    let (digest, bytes) = row.split_at_checked(32)?;
    (blake3::hash(bytes).as_bytes() == digest).then_some(bytes)
}

/// The beginning of all keys.
fn rows() -> Encoder {
    Encoder::new("ibuild grains v1")
}

fn key(project: &str, target: &str) -> Vec<u8> {
    let mut key = rows();
    key.text(project);
    key.text(target);
    key.finish()
}

fn parse(row: &[u8]) -> Option<PackRecord> {
    PackRecord::from_bytes(unsealed(row)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskMap, GrainKey, Kept, plan};
    use ibuild_cache::MemoryIndex;

    fn grain() -> GrainKey {
        plan(&DiskMap::of_bytes(1 << 20, [(0, b"x".as_slice())]))[0].key
    }

    fn lab() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        (dir, store)
    }

    fn has(store: &Store, target: &str) -> bool {
        let packs = GrainMemory::new(store).find("p", &[target]).unwrap().into_packs();
        packs.iter().any(|pack| pack.find(&grain()).is_some())
    }

    fn remember(store: &Store, target: &str) -> BlobId {
        let blob = store.blobs().put(target.as_bytes()).unwrap().digest;
        let kept = Kept { offset: 0, length: 1, digest: *blake3::hash(b"x").as_bytes() };
        let record = PackRecord { blob, grains: vec![(grain(), kept)], disks: Vec::new() };
        GrainMemory::new(store).remember("p", target, record).unwrap();
        blob
    }

    #[test]
    fn the_last_file_of_a_target_is_known_as_long_as_it_is_there() {
        let (_dir, store) = lab();
        let blob = remember(&store, "x.ova");
        assert!(has(&store, "x.ova") && !has(&store, "y.ova"));
        store.blobs().remove(&blob).unwrap();
        assert!(!has(&store, "x.ova"));
    }

    #[test]
    fn a_damaged_row_is_a_missing_one() {
        let (_dir, store) = lab();
        remember(&store, "x.ova");
        let (key, mut row) = store.index().scan(Table::Grains, &[]).unwrap().remove(0);
        *row.last_mut().unwrap() ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Grains, &key, row);
        store.index().commit(batch).unwrap();
        assert!(!has(&store, "x.ova"));
    }

    #[test]
    fn rows_go_with_their_files() {
        let (_dir, store) = lab();
        let blob = remember(&store, "x.ova");
        remember(&store, "y.ova");
        let mut batch = Batch::default();
        GrainMemory::new(&store).forget(&[blob].into(), &mut batch).unwrap();
        store.index().commit(batch).unwrap();
        assert_eq!(store.index().scan(Table::Grains, &[]).unwrap().len(), 1);
        assert!(has(&store, "y.ova"));
    }
}
