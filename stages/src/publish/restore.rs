//! Finished files of which the store has the parts are made again: an earlier state of a project is wanted once more.

use std::path::Path;

use ibuild_cache::{Cancel, Store};

use crate::StageError;
use crate::disk::{Destination, DiskError, Packs, compose_file};
use crate::image::composition::Composition;
use crate::output::Composed;
use crate::publish::pending_artifacts::PendingArtifact;
use crate::publish::place::Place;
use crate::publish::previous_output::PreviousOutput;

/// Makes a file over the spare one of its target, lets it take turns with the one in `place`, and tells whether it is there. It is
/// not if these two are not on one file system: then nothing is saved by that, now or with the next edit.
pub(crate) fn restore(
    store: &Store,
    made: &Composed,
    spare: PreviousOutput,
    place: &Place<'_>,
    cancel: &Cancel,
) -> Result<bool, StageError> {
    // A store that cannot be written can be read.
    let Ok(scratch) = store.run_dir() else { return Ok(false) };
    let path = scratch.path().join("image");
    spare.take(&path)?;
    if !place.has_image_in_reach_of(&path) {
        spare.keep(&path);
        return Ok(false);
    }
    if !compose_into(store, &path, made, cancel)? {
        return Err(StageError::DamagedArtifact(made.file.blob));
    }
    PendingArtifact { path, seed_copy: None, spare, _dir: scratch }.move_to(place)
}

/// Makes a file of its parts, and tells whether it came out as it should. What is to blame otherwise is removed from the
/// store, so that the image is made again.
pub(crate) fn compose_into(
    store: &Store,
    path: &Path,
    made: &Composed,
    cancel: &Cancel,
) -> Result<bool, StageError> {
    let mut packs = Packs::none(Path::new("")).until(cancel);
    let parts = match Composition::find(store, &made.composition.blob)? {
        Some(composition) => composition.open(store, &mut packs)?.into_made(),
        None => None,
    };
    let Some(parts) = parts else {
        store.blobs().remove(&made.composition.blob)?;
        return Ok(false);
    };
    let over = Destination { before: Some(&parts), ..path.into() };
    match compose_file(&parts.rope, &packs, over) {
        Err(DiskError::DamagedPack { pack }) => {
            store.blobs().remove(&pack)?;
            Ok(false)
        }
        Ok((digested, _)) if digested.digest != made.file.blob => {
            store.blobs().remove(&made.composition.blob)?;
            Ok(false)
        }
        composed => Ok(composed.map(|_| true)?),
    }
}
