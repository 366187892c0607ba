//! Where the files of a layer have holes, found once for each layer.
//!
//! A hole is a block of zeros, so finding holes is reading. What was found is a function of the layer, and is kept with the other
//! things that the index knows only to save time.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use ibuild_cache::{Batch, Encoder, LayerId, Record, Store, Table};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use super::files::{LayerChange, LayerContent, LayerFile, LayerKind, Listed};
use super::tarball::segments;

/// Files that are smaller have no holes worth the reading.
const SMALL: u64 = 64 << 10;

/// The ranges of bytes that are in no hole, of those files that have holes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holes(BTreeMap<Vec<u8>, Vec<Range<u64>>>);

impl Record for Holes {
    const SCHEMA: u16 = 1;
}

/// Tells all regular files of a layer which of their bytes are in no hole.
pub(super) fn find(
    store: &Store,
    layer: &LayerId,
    changes: &mut Listed<LayerChange>,
) -> Result<(), SnapshotError> {
    if let Some(known) = recall(store, layer) {
        contents(changes).for_each(|(path, content)| content.data = known.data(path, content.size));
        return Ok(());
    }
    read(changes)?;
    // It only saves time: a store that cannot be written can still be read.
    let _ = remember(store, layer, &Holes::of(changes));
    Ok(())
}

/// Finds all holes by reading.
pub(super) fn read(changes: &mut Listed<LayerChange>) -> Result<(), SnapshotError> {
    let contents: Vec<_> = contents(changes).collect();
    contents.into_par_iter().try_for_each(|(_, content)| read_file(content))
}

fn read_file(content: &mut LayerContent) -> Result<(), SnapshotError> {
    content.data = whole(content.size);
    if content.size >= SMALL {
        let file = File::open(&content.place).map_err(SnapshotError::io("open", &content.place))?;
        let found = segments(&file, content.size).map_err(SnapshotError::io("read", &content.place))?;
        let ranges = found.iter().map(|segment| segment.offset..segment.offset + segment.length);
        content.data = ranges.filter(|range| !range.is_empty()).collect();
    }
    Ok(())
}

fn whole(size: u64) -> Vec<Range<u64>> {
    std::iter::once(0..size).filter(|range| !range.is_empty()).collect()
}

impl Holes {
    fn of(changes: &mut Listed<LayerChange>) -> Self {
        let with_holes = contents(changes).filter(|(_, content)| content.data != whole(content.size));
        Self(with_holes.map(|(path, content)| (path.clone(), content.data.clone())).collect())
    }

    fn data(&self, path: &[u8], size: u64) -> Vec<Range<u64>> {
        self.0.get(path).cloned().unwrap_or_else(|| whole(size))
    }
}

fn contents(changes: &mut Listed<LayerChange>) -> impl Iterator<Item = (&Vec<u8>, &mut LayerContent)> {
    changes.iter_mut().filter_map(|(path, change)| match change {
        LayerChange::Set(LayerFile { kind: LayerKind::Regular(content), .. }) => Some((&*path, content)),
        _ => None,
    })
}

/// A row tells its own digest: a disk would be laid out by it.
fn recall(store: &Store, layer: &LayerId) -> Option<Holes> {
    let row = store.index().get(Table::Memo, &key(layer)).ok()??;
    let (digest, bytes) = row.split_at_checked(32)?;
    if blake3::hash(bytes).as_bytes() != digest {
        return None;
    }
    Holes::from_bytes(bytes)
}

fn remember(store: &Store, layer: &LayerId, holes: &Holes) -> Result<(), SnapshotError> {
    let bytes = holes.to_bytes();
    let mut batch = Batch::default();
    batch.put(Table::Memo, &key(layer), [&blake3::hash(&bytes).as_bytes()[..], &bytes].concat());
    Ok(store.index().commit(batch)?)
}

fn key(layer: &LayerId) -> Vec<u8> {
    let mut key = Encoder::new("ibuild layer holes v1");
    key.digest(layer.as_bytes());
    key.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use ibuild_cache::MemoryIndex;

    use super::*;
    use crate::snapshot::files::read_layer;

    #[test]
    fn what_was_found_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
        let place = dir.path().join("layer");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("full"), vec![b'x'; 200_000]).unwrap();
        fs::write(place.join("empty"), "").unwrap();
        let sparse = File::create(place.join("sparse")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        sparse.write_all_at(b"data", 500_000).unwrap();
        let by_reading = read_layer(&place).unwrap();
        let layer = LayerId::from_bytes([1; 32]);
        let found = |layer: &LayerId| {
            let mut changes = by_reading.clone();
            contents(&mut changes).for_each(|(_, content)| content.data = Vec::new());
            find(&store, layer, &mut changes).unwrap();
            changes
        };
        assert_eq!(found(&layer), by_reading);
        assert_eq!(recall(&store, &layer).unwrap().0.len(), 1, "of most files there is nothing to say");
        fs::write(place.join("full"), vec![0; 200_000]).unwrap();
        assert_eq!(found(&layer), by_reading, "it was read again");
        assert_ne!(found(&LayerId::from_bytes([2; 32])), by_reading);
    }

    #[test]
    fn a_damaged_row_is_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let layer = LayerId::from_bytes([1; 32]);
        remember(&store, &layer, &Holes([(b"a".to_vec(), vec![0..4096, 8192..9000])].into())).unwrap();
        assert!(recall(&store, &layer).is_some());
        let mut row = store.index().get(Table::Memo, &key(&layer)).unwrap().unwrap();
        row[40] ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Memo, &key(&layer), row);
        store.index().commit(batch).unwrap();
        assert_eq!(recall(&store, &layer), None);
    }
}
