//! Where the files of a layer have holes. A hole is a block of zeros, whatever the disk has there, so finding holes is reading.

use std::fs::File;

use rayon::prelude::*;

use super::SnapshotError;
use super::files::{LayerChange, LayerContent, LayerFile, LayerKind, Listed};
use super::tarball::segments;

/// Files that are smaller have no holes worth the reading.
const SMALL: u64 = 64 << 10;

/// Tells all regular files of a layer which of their bytes are in no hole.
pub(super) fn read(changes: &mut Listed<LayerChange>) -> Result<(), SnapshotError> {
    let contents: Vec<&mut LayerContent> = changes.iter_mut().filter_map(content).collect();
    contents.into_par_iter().try_for_each(read_file)
}

fn content((_, change): &mut (Vec<u8>, LayerChange)) -> Option<&mut LayerContent> {
    match change {
        LayerChange::Set(LayerFile { kind: LayerKind::Regular(content), .. }) => Some(content),
        _ => None,
    }
}

fn read_file(content: &mut LayerContent) -> Result<(), SnapshotError> {
    content.data = std::iter::once(0..content.size).filter(|range| !range.is_empty()).collect();
    if content.size >= SMALL {
        let file = File::open(&content.place).map_err(SnapshotError::io("open", &content.place))?;
        let found = segments(&file, content.size).map_err(SnapshotError::io("read", &content.place))?;
        let ranges = found.iter().map(|segment| segment.offset..segment.offset + segment.length);
        content.data = ranges.filter(|range| !range.is_empty()).collect();
    }
    Ok(())
}
