//! What can go wrong with a sandbox itself. A payload that fails is not an error here.

use std::io;

use serde::{Deserialize, Serialize};

use super::limits::Exceeded;
use ibuild_spec::ByteSize;

/// A failed sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The stage's init could not be started or talked to.
    #[error("cannot {act} the stage's init")]
    Init {
        /// What was tried, as a verb.
        act: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Init could not set the sandbox up.
    #[error("cannot set up the sandbox: {0}")]
    Setup(String),
    /// The image lacks what is needed to start the program.
    #[error("{0}")]
    NotStarted(String),
    /// The listener that init handed out could not be served.
    #[error("cannot serve packages to the stage")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Init ended without a word: it was killed, for example for lack of memory.
    #[error("the stage's init was killed")]
    Killed,
    /// It took longer than the step allows.
    #[error("timed out after {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// It came up against one of its limits.
    #[error("{0}")]
    Exceeded(Exceeded),
    /// The file system of the store has too little room left for everybody else.
    #[error("less than {} is left on the disk of the store", ByteSize(*.0))]
    DiskFull(u64),
    /// A file of the project, by its path below what was copied, is another than the stage was to have.
    #[error("`{0}` changed while it was copied")]
    SourceChanged(String),
    /// What is copied cannot be where it is to be.
    #[error("{0}")]
    InTheWay(InTheWay),
    /// A fetched archive cannot be unpacked.
    #[error("{0}")]
    NotUnpacked(String),
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
}

/// What the tree has at a place where a copy is to put something else, by its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum InTheWay {
    /// A file, where a directory has to be.
    #[error("`{0}` is a file in the image, and a directory is copied there")]
    File(String),
    /// A directory with something in it, where a file has to be.
    #[error("`{0}` is a directory in the image, and a file is copied there")]
    Directory(String),
}

impl InTheWay {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) => {
                "what is in a directory goes into the directory that `to` names: name one, or remove the file in an earlier step"
            }
            Self::Directory(_) => {
                "end `to` with `/` to put the file into it, or remove the directory in an earlier step"
            }
        }
    }
}

impl SandboxError {
    /// For what goes wrong with a listener, which is the caller's.
    pub fn serve(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Serve(Box::new(source))
    }

    pub(super) fn init(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Init { act, source }
    }
}
