//! Turns: of several callers that want one file, one fetches it while the others wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ibuild_cache::Sha256;
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, by what is wanted. A recipe names a few files, so none is forgotten.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Sha256, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for one's turn, which ends with the guard.
    pub(crate) async fn wait(&self, file: Sha256) -> OwnedMutexGuard<()> {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(file).or_default().clone();
        turn.lock_owned().await
    }
}
