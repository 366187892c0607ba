//! Why a file could not be fetched, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use ibuild_cache::CacheError;

use crate::fetch::certificate::{AuthorityError, CertificateFault};
use crate::fetch::connect_error::ConnectError;

/// Why a file could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot fetch `{what}`")]
pub struct FetchError {
    /// The file, by its address, or by its path where no mirror was asked.
    pub what: String,
    /// The reason.
    #[source]
    pub reason: FetchReason,
}

/// The reason of a failed download.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchReason {
    /// Nothing may be fetched.
    #[error("it is not in the store, and this build is offline")]
    Offline,
    /// The mirror does not have it.
    #[error("the mirror does not have it ({0})")]
    NotFound(StatusCode),
    /// The mirror does not want to answer this, now or later.
    #[error("the mirror refuses it ({0})")]
    Refused(StatusCode),
    /// The mirror answers with an error that may pass.
    #[error("the mirror answers {0}")]
    Status(StatusCode),
    /// The server is busy, and says for how long.
    #[error("the mirror answers {status}, and asks to wait {} seconds", pause.as_secs())]
    Busy {
        /// Its status.
        status: StatusCode,
        /// How long.
        pause: Duration,
    },
    /// The mirror cannot be reached, or the connection broke.
    #[error("the mirror cannot be reached: {0}")]
    Unreachable(String),
    /// Whoever answers cannot show that it is the host.
    #[error("the certificate of `{host}` is not accepted: {fault}")]
    Certificate {
        /// Who was meant.
        host: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// Nobody's certificate can be judged.
    #[error(transparent)]
    Authorities(AuthorityError),
    /// The mirror sent something else.
    #[error("the mirror sent other bytes than the archive's signed indices name: {0}")]
    WrongBytes(String),
    /// The file has no end in sight.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// The store cannot keep it.
    #[error("{0}")]
    Store(#[source] Arc<CacheError>),
}

impl FetchReason {
    /// Whether another attempt could end otherwise.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Busy { .. } | Self::Unreachable(_) | Self::WrongBytes(_))
    }

    pub(crate) fn unreachable(error: &dyn std::error::Error) -> Self {
        Self::Unreachable(Self::explain(error))
    }

    /// An error with its causes, on one line.
    pub(crate) fn explain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

impl From<ConnectError> for FetchReason {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Certificate { host, fault } => Self::Certificate { host, fault },
            ConnectError::Authorities(error) => Self::Authorities(error),
            error => Self::unreachable(&error),
        }
    }
}

impl From<CacheError> for FetchReason {
    fn from(error: CacheError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl FetchError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.reason {
            FetchReason::Offline => "build once without `--offline`",
            FetchReason::NotFound(_) => {
                "the mirror may have moved on: run `ibuild update`, or try another `mirror`"
            }
            FetchReason::Refused(_) => "try another `mirror`",
            FetchReason::Status(_) | FetchReason::Busy { .. } | FetchReason::Unreachable(_) => {
                "try again, or try another `mirror`"
            }
            FetchReason::Certificate { fault, .. } => fault.hint(),
            FetchReason::Authorities(error) => error.hint(),
            FetchReason::WrongBytes(_) => {
                "the mirror may be in the middle of an update: try again, or another `mirror`"
            }
            FetchReason::TooLarge(_) => "check `mirror`: this is no Debian archive",
            FetchReason::Store(_) => return None,
        };
        Some(hint.to_owned())
    }
}
