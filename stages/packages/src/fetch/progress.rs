//! How far a download has come, for those who follow it.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::watch;

use crate::fetch::fetch_error::{FetchError, FetchReason};

/// How far a download has come.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    /// Raised whenever earlier bytes are taken back.
    pub(crate) generation: u32,
    /// Where the bytes are.
    pub(crate) bytes: Option<Arc<File>>,
    /// How many there are; none of them is verified before the outcome is there.
    pub(crate) written: u64,
    /// Set once, at the end.
    pub(crate) outcome: Option<Result<(), FetchError>>,
}

/// A download that can be followed. It goes on when its followers leave.
pub(crate) struct Download {
    progress: watch::Receiver<Progress>,
}

impl Download {
    /// A download that tells of its progress here.
    pub(crate) fn new(progress: watch::Receiver<Progress>) -> Arc<Self> {
        Arc::new(Self { progress })
    }

    /// A view of the progress of one's own.
    pub(crate) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits for the end.
    pub(crate) async fn await_outcome(&self) -> Result<(), FetchError> {
        let mut progress = self.follow();
        let end = progress.wait_for(|progress| progress.outcome.is_some()).await;
        let stopped = || FetchError {
            what: "a file".to_owned(),
            reason: FetchReason::Unreachable("the build is being stopped".to_owned()),
        };
        end.map_err(|_| stopped())?.outcome.clone().expect("it was waited for")
    }
}
