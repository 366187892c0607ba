//! Answers that are no files.

use std::fmt;

use hyper::StatusCode;

use crate::PackageError;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::proxy::target::Refusal;

/// An answer that is no file.
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, text: impl fmt::Display) -> Self {
        Self { status, text: text.to_string() }
    }

    /// There is no such file, and asking again does not help.
    pub(crate) fn not_found(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// The mirror sends what must not be passed on.
    pub(crate) fn bad_mirror(text: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, text)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Tunnel(_) | Refusal::Host(_) => StatusCode::FORBIDDEN,
            Refusal::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotProxied => StatusCode::BAD_REQUEST,
            Refusal::Path(_) => StatusCode::NOT_FOUND,
        };
        Self::new(status, refusal)
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        // apt tries again after 502 and 503, but not after 403 and 404. A mirror's own refusal, like 407, could mean more.
        let status = match error.reason {
            FetchReason::NotFound(_) | FetchReason::Offline => StatusCode::NOT_FOUND,
            FetchReason::Refused(_) => StatusCode::FORBIDDEN,
            FetchReason::WrongBytes(_) | FetchReason::TooLarge(_) | FetchReason::Certificate { .. } => {
                StatusCode::BAD_GATEWAY
            }
            FetchReason::Status(_) | FetchReason::Busy { .. } | FetchReason::Unreachable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            FetchReason::Store(_) | FetchReason::Authorities(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        Self::new(status, format_args!("{error}: {}{hint}", error.reason))
    }
}

impl From<PackageError> for Problem {
    fn from(error: PackageError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}
