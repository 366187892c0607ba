//! The boot loaders of images, kept for as long as what was made with them.
//!
//! For each image the index knows the last one, beside the grains of its files. That saves half a second and is a hint like
//! those: a row that is lost or damaged means that the boot loader is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ibuild_cache::{ActionKey, Batch, BlobId, Encoder, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::disk::BootFiles;
use crate::image::grains::{sealed, unsealed};

/// The boot loaders that this build has made or found. Formats of one image are packed at the same time.
#[derive(Default)]
pub(crate) struct BootLoaders(pub(crate) Mutex<BTreeMap<ActionKey, BootFiles>>);

/// The boot loader of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootLoader {
    /// What makes it.
    pub made_by: ActionKey,
    /// It.
    pub files: BootFiles,
}

#[derive(Serialize, Deserialize)]
struct BootRecord {
    loader: BootLoader,
    /// The last file that it is in.
    used_by: BlobId,
}

impl Record for BootRecord {
    const SCHEMA: u16 = 1;
}

/// The boot loaders of a project's images in a store.
pub(crate) struct BootMemory<'s> {
    store: &'s Store,
    project: &'s str,
}

impl<'s> BootMemory<'s> {
    pub(crate) fn new(store: &'s Store, project: &'s str) -> Self {
        Self { store, project }
    }

    /// The last boot loader of an image.
    pub(crate) fn find(&self, image: &str) -> Result<Option<BootLoader>, StageError> {
        let row = self.store.index().get(Table::Grains, &self.key(image))?;
        Ok(row.as_deref().and_then(parse).map(|record| record.loader))
    }

    /// Remembers that an image has this boot loader, which is in a file that has just been made.
    pub(crate) fn remember(&self, image: &str, loader: BootLoader, used_by: BlobId) {
        self.store.index().hint(Table::Grains, &self.key(image), sealed(&BootRecord { loader, used_by }));
    }

    fn key(&self, image: &str) -> Vec<u8> {
        let mut key = rows();
        key.text(self.project);
        key.text(image);
        key.finish()
    }
}

/// Forgets the boot loaders of which the last file goes.
pub(crate) fn forget(store: &Store, gone: &BTreeSet<BlobId>, batch: &mut Batch) -> Result<(), StageError> {
    for (key, row) in store.index().scan(Table::Grains, &rows().finish())? {
        if parse(&row).is_none_or(|record| gone.contains(&record.used_by)) {
            batch.delete(Table::Grains, &key);
        }
    }
    Ok(())
}

/// The beginning of all keys.
fn rows() -> Encoder {
    Encoder::new("ibuild boot loader v1")
}

fn parse(row: &[u8]) -> Option<BootRecord> {
    BootRecord::from_bytes(unsealed(row)?)
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;

    fn loader(byte: u8) -> BootLoader {
        let files = BootFiles { bios: None, uefi: Some(vec![byte; 100]) };
        BootLoader { made_by: ActionKey::from_bytes([byte; 32]), files }
    }

    #[test]
    fn the_last_one_of_each_image_is_known_until_its_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let memory = BootMemory::new(&store, "p");
        let files = [1, 2].map(|byte| BlobId::from_bytes([byte; 32]));
        memory.remember("x", loader(1), files[0]);
        memory.remember("x", loader(2), files[1]);
        memory.remember("y", loader(3), files[0]);
        assert_eq!(memory.find("x").unwrap(), Some(loader(2)));
        assert_eq!(BootMemory::new(&store, "q").find("x").unwrap(), None);
        let mut batch = Batch::default();
        forget(&store, &[files[0]].into(), &mut batch).unwrap();
        store.index().commit(batch).unwrap();
        assert_eq!((memory.find("x").unwrap(), memory.find("y").unwrap()), (Some(loader(2)), None));
    }

    #[test]
    fn a_damaged_row_is_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let memory = BootMemory::new(&store, "p");
        memory.remember("x", loader(1), BlobId::from_bytes([1; 32]));
        let (key, mut row) = store.index().scan(Table::Grains, &[]).unwrap().remove(0);
        row[60] ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Grains, &key, row);
        store.index().commit(batch).unwrap();
        assert_eq!(memory.find("x").unwrap(), None);
    }
}
