//! Why a file that a recipe names could not be fetched.

use std::sync::Arc;

use ibuild_cache::{CacheError, Sha256};
use ibuild_debian::Url;

use crate::fetch::fetch_error::FetchReason;

/// Why a file that a recipe names could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PinnedError {
    /// Nothing may be fetched.
    #[error("`{url}` (SHA-256 {}) is not in the store, and this build is offline", sha256.hex())]
    Offline {
        /// The first of its addresses.
        url: String,
        /// What it has to be.
        sha256: Sha256,
    },
    /// Its only address does not give it.
    #[error("cannot fetch `{url}`")]
    One {
        /// The address.
        url: String,
        /// Why.
        #[source]
        reason: PinnedReason,
    },
    /// None of its addresses gives it.
    #[error("cannot fetch the file with SHA-256 {}: {}", sha256.hex(), each(failures))]
    Every {
        /// What it has to be.
        sha256: Sha256,
        /// Each address, and why.
        failures: Vec<(Url, PinnedReason)>,
    },
    /// The store cannot keep it.
    #[error(transparent)]
    Store(Arc<CacheError>),
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
}

/// Why one address does not give a file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PinnedReason {
    /// It sends something else.
    #[error("its SHA-256 is {}, and the recipe says {}", found.hex(), expected.hex())]
    WrongDigest {
        /// What the recipe says.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// It has no end in sight.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// Nothing came, or not all of it.
    #[error(transparent)]
    Fetch(#[from] FetchReason),
}

fn each(failures: &[(Url, PinnedReason)]) -> String {
    failures.iter().map(|(url, reason)| format!("`{url}`: {reason}")).collect::<Vec<_>>().join("; ")
}

impl PinnedReason {
    /// Whether another attempt could end otherwise.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(reason) if reason.is_transient())
    }
}

impl PinnedError {
    pub(crate) fn of(sha256: Sha256, mut failures: Vec<(Url, PinnedReason)>) -> Self {
        match failures.len() {
            1 => {
                let (url, reason) = failures.remove(0);
                Self::One { url: url.to_string(), reason }
            }
            _ => Self::Every { sha256, failures },
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let reasons: Vec<&PinnedReason> = match self {
            Self::Offline { .. } => return Some("build once without `--offline`".to_owned()),
            Self::Store(_) | Self::Interrupted => return None,
            Self::One { reason, .. } => vec![reason],
            Self::Every { failures, .. } => failures.iter().map(|(_, reason)| reason).collect(),
        };
        let is_other = |reason: &&PinnedReason| matches!(reason, PinnedReason::WrongDigest { .. });
        let hint = match reasons.iter().find_map(|reason| own_remedy(reason)) {
            _ if reasons.iter().any(is_other) => {
                "the digest in the recipe is mistyped, or somebody has put another file there: find out which before you write another digest"
            }
            Some(remedy) => remedy,
            None if reasons.iter().any(|reason| reason.is_transient()) => {
                "try again, or add another address to `url` in the recipe"
            }
            None => {
                "correct `url` in the recipe: the digest decides whether it is the same file, and a new address runs nothing again"
            }
        };
        Some(hint.to_owned())
    }
}

/// The remedy that a reason has wherever it is met.
fn own_remedy(reason: &PinnedReason) -> Option<&'static str> {
    match reason {
        PinnedReason::Fetch(FetchReason::Certificate { fault, .. }) => Some(fault.hint()),
        PinnedReason::Fetch(FetchReason::Authorities(error)) => Some(error.hint()),
        _ => None,
    }
}
