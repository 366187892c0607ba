//! Why a server gave no response.

use std::io;
use std::time::Duration;

use ibuild_debian::UrlError;

use crate::fetch::certificate::{AuthorityError, CertificateFault};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the certificate of `{host}` is not accepted: {fault}")]
    Certificate { host: String, fault: CertificateFault },
    #[error(transparent)]
    Authorities(#[from] AuthorityError),
    #[error("no answer within {} seconds", .0.as_secs())]
    Stalled(Duration),
    #[error("it redirects to an address that cannot be used")]
    Redirect(#[from] UrlError),
    #[error("it redirects too often")]
    RedirectLoop,
}
