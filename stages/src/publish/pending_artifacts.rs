//! Files that this build has finished, on their way to where people look for them.
//!
//! The store keeps only what they are made of. So the one copy that is written is the one that people get, unless it has to
//! go to another file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;

use ibuild_cache::{BlobId, Cancel, RunDir};

use crate::StageError;
use crate::publish::place::Place;
use crate::publish::plain::make_plain;
use crate::publish::previous_output::PreviousOutput;

/// The files, by their digests. Those that nobody takes go with this value.
#[derive(Debug, Default)]
pub struct PendingArtifacts {
    files: Mutex<BTreeMap<BlobId, PendingArtifact>>,
    cancel: Cancel,
}

/// A file that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct PendingArtifact {
    /// Where it is.
    pub path: PathBuf,
    /// A second copy with the same bytes, if there is one: the next file of the target is written over it.
    pub seed_copy: Option<PathBuf>,
    /// Gets the file that it replaces, or the seed copy.
    pub spare: PreviousOutput,
    /// In which they lie; it goes with this value.
    pub _dir: RunDir,
}

impl PendingArtifacts {
    /// None yet, of a build whose user may give up.
    pub(crate) fn until(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..Self::default() }
    }

    /// Whether to give up.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Takes charge of the file with this digest.
    pub(crate) fn add(&self, digest: BlobId, waiting: PendingArtifact) {
        self.files.lock().expect("no panic while held").insert(digest, waiting);
    }

    /// Moves the file with this digest to `place`, and tells whether it was here.
    pub(crate) fn take(&self, digest: &BlobId, place: &Place<'_>) -> Result<bool, StageError> {
        let Some(file) = self.files.lock().expect("no panic while held").remove(digest) else {
            return Ok(false);
        };
        file.move_to(place)
    }
}

impl PendingArtifact {
    /// Moves the file to `place`, durably, and tells whether it is there: it may be on another file system. Until it is whole
    /// there is nothing new in `place`.
    pub(crate) fn move_to(self, place: &Place<'_>) -> Result<bool, StageError> {
        if !place.is_in_reach_of(&self.path) {
            return Ok(false);
        }
        let flush = || {
            let file = File::open(&self.path)?;
            make_plain(&file)?;
            file.sync_data()
        };
        flush().map_err(StageError::io("write", &self.path))?;
        match place.fill(|image| self.spare.trade(&self.path, image)) {
            Err(e) if e.kind() == ErrorKind::CrossesDevices => return Ok(false),
            moved => moved.map_err(StageError::io("write", place.image))?,
        }
        if let Some(seed_copy) = &self.seed_copy {
            self.spare.keep(seed_copy);
        }
        Ok(true)
    }
}
