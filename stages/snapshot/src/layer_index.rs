//! What layers hold, found once for each of them.
//!
//! To find it means to look at every file, and to read those that have holes. It is a function of the layer, and is kept with
//! the other things that the index knows only to save time.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ibuild_cache::{Batch, Cancel, Encoder, LayerId, MOST_RECORD, Record, Store, Table, whole_bytes};
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use super::files::{LayerChange, LayerFile, LayerKind, Listed, read_layer};

/// One path of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(with = "whole_bytes")]
    path: Vec<u8>,
    change: LayerChange,
}

/// All paths of a layer, in their order.
#[derive(Debug, Serialize, Deserialize)]
struct Held(Vec<Row>);

impl Record for Held {
    const SCHEMA: u16 = 2;
}

/// What the layer holds that is unpacked in `dir`.
pub(super) fn find(
    store: &Store,
    layer: &LayerId,
    dir: &Path,
    cancel: &Cancel,
) -> Result<Listed<LayerChange>, SnapshotError> {
    if let Some(held) = recall(store, layer) {
        return Ok(held.within(dir));
    }
    let held = Held::of(read_layer(dir, cancel)?);
    remember(store, layer, &held);
    Ok(held.within(dir))
}

/// Forgets what these layers hold, because they were not what they should be when it was found.
pub fn forget(store: &Store, layers: &[LayerId]) -> Result<(), SnapshotError> {
    let mut batch = Batch::default();
    layers.iter().for_each(|layer| batch.delete(Table::Memo, &key(layer)));
    Ok(store.index().commit(batch)?)
}

/// Forgets it of all layers.
pub fn forget_all(store: &Store, batch: &mut Batch) -> Result<(), SnapshotError> {
    for (key, _) in store.index().scan(Table::Memo, &rows().finish())? {
        batch.delete(Table::Memo, &key);
    }
    Ok(())
}

impl Held {
    fn of(changes: Listed<LayerChange>) -> Self {
        Self(changes.into_iter().map(|(path, change)| Row { path, change }).collect())
    }

    /// Where the files are is not remembered: each start of the machine has another directory for them.
    fn within(self, dir: &Path) -> Listed<LayerChange> {
        let placed = |Row { path, mut change }: Row| {
            if let LayerChange::Set(LayerFile { kind: LayerKind::Regular(content), .. }) = &mut change {
                content.place = dir.join(OsStr::from_bytes(&path)).into();
            }
            (path, change)
        };
        self.0.into_iter().map(placed).collect()
    }
}

/// A row tells its own digest: a disk would be laid out by it.
fn recall(store: &Store, layer: &LayerId) -> Option<Held> {
    let row = store.index().get(Table::Memo, &key(layer)).ok()??;
    let (digest, bytes) = row.split_at_checked(32)?;
    if blake3::hash(bytes).as_bytes() != digest {
        return None;
    }
    Held::from_bytes(bytes)
}

fn remember(store: &Store, layer: &LayerId, held: &Held) {
    let bytes = held.to_bytes();
    if bytes.len() as u64 <= MOST_RECORD {
        let row = [&blake3::hash(&bytes).as_bytes()[..], &bytes].concat();
        store.index().hint(Table::Memo, &key(layer), row);
    }
}

/// The beginning of all keys.
fn rows() -> Encoder {
    Encoder::new("ibuild layer holds v2")
}

fn key(layer: &LayerId) -> Vec<u8> {
    let mut key = rows();
    key.digest(layer.as_bytes());
    key.finish()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, symlink};

    use ibuild_cache::MemoryIndex;

    use super::*;

    struct Lab {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Lab {
        /// A layer of files of several kinds.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
            let place = dir.path().join("layer");
            fs::create_dir_all(place.join("below")).unwrap();
            fs::write(place.join("full"), vec![b'x'; 200_000]).unwrap();
            fs::write(place.join("empty"), "").unwrap();
            fs::hard_link(place.join("full"), place.join("link")).unwrap();
            symlink("target", place.join("below/symlink")).unwrap();
            let sparse = File::create(place.join("below/sparse")).unwrap();
            sparse.set_len(1 << 20).unwrap();
            sparse.write_all_at(b"data", 500_000).unwrap();
            Self { dir, store }
        }

        fn find(&self, layer: u8, dir: &str) -> Listed<LayerChange> {
            let (layer, dir) = (LayerId::from_bytes([layer; 32]), self.dir.path().join(dir));
            find(&self.store, &layer, &dir, &Cancel::default()).unwrap()
        }
    }

    #[test]
    fn what_was_found_is_not_looked_for_again() {
        let lab = Lab::new();
        let by_looking = read_layer(&lab.dir.path().join("layer"), &Cancel::default()).unwrap();
        assert_eq!(lab.find(1, "layer"), by_looking);
        assert_eq!(lab.find(1, "layer"), by_looking);
        fs::rename(lab.dir.path().join("layer"), lab.dir.path().join("moved")).unwrap();
        assert_eq!(
            lab.find(1, "moved"),
            read_layer(&lab.dir.path().join("moved"), &Cancel::default()).unwrap()
        );
        fs::write(lab.dir.path().join("moved/new"), "new").unwrap();
        assert_eq!(lab.find(1, "moved").len(), by_looking.len(), "it was looked for again");
        assert_eq!(lab.find(2, "moved").len(), by_looking.len() + 1);
        forget(&lab.store, &[LayerId::from_bytes([1; 32])]).unwrap();
        assert_eq!(lab.find(1, "moved").len(), by_looking.len() + 1);
        let mut batch = Batch::default();
        forget_all(&lab.store, &mut batch).unwrap();
        lab.store.index().commit(batch).unwrap();
        assert!([1, 2].iter().all(|layer| recall(&lab.store, &LayerId::from_bytes([*layer; 32])).is_none()));
    }

    #[test]
    fn a_damaged_row_is_a_missing_one() {
        let lab = Lab::new();
        lab.find(1, "layer");
        let layer = LayerId::from_bytes([1; 32]);
        assert!(recall(&lab.store, &layer).is_some());
        let mut row = lab.store.index().get(Table::Memo, &key(&layer)).unwrap().unwrap();
        row[60] ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Memo, &key(&layer), row);
        lab.store.index().commit(batch).unwrap();
        assert!(recall(&lab.store, &layer).is_none());
    }
}
