//! Where the disks of finished images, and their compressed grains, can be found again: in what those images are made of.
//!
//! For each target the index knows the last composition. That is a hint and nothing more: a row without its composition, or one
//! of which a pack is gone, only means that grains are compressed again.

use std::collections::BTreeSet;
use std::path::Path;

use ibuild_cache::{ActionKey, Batch, BlobId, Encoder, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::disk::{FoundVmdk, Made, Packs};
use crate::image::composition::{Composition, Opened};

/// What a target was made of when it was last made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LastComposition {
    composition: BlobId,
}

impl Record for LastComposition {
    const SCHEMA: u16 = 3;
}

/// The grains of a store.
pub(crate) struct GrainMemory<'s> {
    store: &'s Store,
}

impl<'s> GrainMemory<'s> {
    /// The grains of `store`.
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// What these targets of a project were last made of, as far as it is there. The first of them is the one that is to be made.
    pub(crate) fn find<T: ToString>(&self, project: &str, targets: &[T]) -> Result<LastFiles, StageError> {
        let mut compositions = Vec::new();
        for target in targets {
            let row = self.store.index().get(Table::Grains, &key(project, &target.to_string()))?;
            let last = row.as_deref().and_then(parse);
            let last = last.map(|last| Composition::find(self.store, &last.composition)).transpose()?;
            compositions.push(last.flatten());
        }
        Ok(LastFiles { compositions })
    }

    /// Whether a target was never made, as far as is known.
    pub(crate) fn is_new(&self, project: &str, target: &str) -> Result<bool, StageError> {
        Ok(self.store.index().get(Table::Grains, &key(project, target))?.is_none())
    }

    /// Remembers what a file is made of that has just been made.
    pub(crate) fn remember(&self, project: &str, target: &str, composition: BlobId) {
        self.store.index().hint(
            Table::Grains,
            &key(project, target),
            sealed(&LastComposition { composition }),
        );
    }

    /// Forgets the compositions that go.
    pub(crate) fn forget(&self, gone: &BTreeSet<BlobId>, batch: &mut Batch) -> Result<(), StageError> {
        for (key, row) in self.store.index().scan(Table::Grains, &rows().finish())? {
            if parse(&row).is_none_or(|last| gone.contains(&last.composition)) {
                batch.delete(Table::Grains, &key);
            }
        }
        Ok(())
    }
}

/// What files are made of that were made before, as far as it is known.
pub(crate) struct LastFiles {
    compositions: Vec<Option<Composition>>,
}

/// What of them can be taken over.
pub(crate) struct Reusable {
    /// The packs with their grains.
    pub packs: Packs,
    /// Their whole VMDKs, one for each key that was asked for.
    pub vmdks: Vec<Option<FoundVmdk>>,
    /// What the first of them is made of.
    pub first: Option<Made>,
}

impl LastFiles {
    /// Opens the packs. New grains will be in the file `new`; `wanted` are the keys of what makes VMDKs.
    pub(crate) fn open(
        self,
        store: &Store,
        new: &Path,
        wanted: &[ActionKey],
    ) -> Result<Reusable, StageError> {
        let mut packs = Packs::none(new);
        let mut opened = Vec::new();
        for composition in self.compositions {
            opened.push(composition.map(|composition| composition.open(store, &mut packs)).transpose()?);
        }
        let found = |key| opened.iter().flatten().find_map(|file| file.vmdk(key));
        let vmdks: Vec<_> = wanted.iter().map(found).collect();
        // Where all disks are found whole, nothing will look for a grain.
        if wanted.is_empty() || vmdks.iter().any(Option::is_none) {
            opened.iter().flatten().for_each(|file| file.tell(&mut packs));
        }
        let first = opened.into_iter().next().flatten().and_then(Opened::into_made);
        Ok(Reusable { packs, vmdks, first })
    }
}

/// A row of a record. A digest is only trusted from the code that computes it, so a row tells its own.
pub(crate) fn sealed(record: &impl Record) -> Vec<u8> {
    let bytes = record.to_bytes();
    [&blake3::hash(&bytes).as_bytes()[..], &bytes].concat()
}

/// The record of a row that is what it was.
pub(crate) fn unsealed(row: &[u8]) -> Option<&[u8]> {
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

fn parse(row: &[u8]) -> Option<LastComposition> {
    LastComposition::from_bytes(unsealed(row)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskMap, GrainKey, Rope, plan};
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
        let files = GrainMemory::new(store).find("p", &[target]).unwrap();
        files.open(store, Path::new("unused"), &[]).unwrap().packs.find(&grain()).is_some()
    }

    /// A file of one grain; tells its composition and its pack.
    fn remember(store: &Store, target: &str) -> [BlobId; 2] {
        let run = store.run_dir().unwrap();
        let mut packs = Packs::none(&run.path().join("pack"));
        let bytes = target.as_bytes();
        let packed = packs.append(grain(), bytes, *blake3::hash(bytes).as_bytes()).unwrap();
        let pack = packs.finish_new().unwrap();
        store.blobs().adopt(&pack.path, &pack.id).unwrap();
        let mut rope = Rope::default();
        rope.stream(&packed);
        let made = Made { rope, subtrees: Vec::new() };
        let composition = Composition::of(made, &packs, Vec::new()).put(store).unwrap().unwrap().blob;
        GrainMemory::new(store).remember("p", target, composition);
        [composition, pack.id]
    }

    #[test]
    fn what_a_target_was_made_of_is_known_as_long_as_it_is_there() {
        for part in [0, 1] {
            let (_dir, store) = lab();
            let parts = remember(&store, "x.ova");
            assert!(has(&store, "x.ova") && !has(&store, "y.ova"));
            store.blobs().remove(&parts[part]).unwrap();
            assert!(!has(&store, "x.ova"));
        }
    }

    #[test]
    fn a_damaged_row_is_a_missing_one() {
        let (_dir, store) = lab();
        remember(&store, "x.ova");
        assert!(!GrainMemory::new(&store).is_new("p", "x.ova").unwrap());
        assert!(GrainMemory::new(&store).is_new("p", "y.ova").unwrap());
        let (key, mut row) = store.index().scan(Table::Grains, &[]).unwrap().remove(0);
        *row.last_mut().unwrap() ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Grains, &key, row);
        store.index().commit(batch).unwrap();
        assert!(!has(&store, "x.ova"));
    }

    #[test]
    fn rows_go_with_their_compositions() {
        let (_dir, store) = lab();
        let [composition, _] = remember(&store, "x.ova");
        remember(&store, "y.ova");
        let mut batch = Batch::default();
        GrainMemory::new(&store).forget(&[composition].into(), &mut batch).unwrap();
        store.index().commit(batch).unwrap();
        assert_eq!(store.index().scan(Table::Grains, &[]).unwrap().len(), 1);
        assert!(has(&store, "y.ova"));
    }
}
