//! Where the files of a layer have holes, and what those hold that have some.

use std::io;

use rayon::prelude::*;

use super::SnapshotError;
use super::allocated::{is_all, parts};
use super::digest::{name, open_file};
use super::files::{LayerChange, LayerContent, LayerFile, LayerKind, Listed};
use ibuild_cache::Cancel;

/// Tells all regular files of a layer which of their bytes are in no hole.
pub(super) fn read(changes: &mut Listed<LayerChange>, cancel: &Cancel) -> Result<(), SnapshotError> {
    let contents: Vec<&mut LayerContent> = changes.iter_mut().filter_map(content).collect();
    contents.into_par_iter().try_for_each(|content| read_file(content, cancel))
}

fn content((_, change): &mut (Vec<u8>, LayerChange)) -> Option<&mut LayerContent> {
    match change {
        LayerChange::Set(LayerFile { kind: LayerKind::Regular(content), .. }) => Some(content),
        _ => None,
    }
}

/// What is in a hole is never read again, so it has to be known from here on that it belongs there.
fn read_file(content: &mut LayerContent, cancel: &Cancel) -> Result<(), SnapshotError> {
    let file = open_file(&content.place)?;
    let read = || -> io::Result<_> {
        let data = parts(&file, content.size)?;
        let with_holes = match is_all(&data, content.size) {
            true => None,
            false => Some(name(&file, content.size, &data, cancel)?),
        };
        Ok((data, with_holes))
    };
    (content.data, content.with_holes) = read().map_err(SnapshotError::io("read", &content.place))?;
    Ok(())
}
