//! What can be wrong with a server's certificate, and with those of the authorities that vouch for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::pem;

/// Why there are no authorities.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthorityError {
    /// The machine has none, and none is named.
    #[error("cannot fetch by https: there is no `{}`, which says whose certificates are good", .0.display())]
    None(PathBuf),
    /// A file of certificates cannot be read.
    #[error("cannot read the certificates in `{}`", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<pem::Error>,
    },
    /// A file that is named as an authority's holds none.
    #[error("`{}` holds no certificate of an authority", .0.display())]
    Empty(PathBuf),
}

impl AuthorityError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None(_) => {
                "apt install ca-certificates, or name the certificate of an authority as `ca` in `ibuild.local.toml`"
            }
            Self::Read { .. } | Self::Empty(_) => {
                "`ca` in `ibuild.local.toml` names files that begin with `-----BEGIN CERTIFICATE-----`"
            }
        }
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nobody who is believed vouches for it.
    Authority,
    /// Its time is over, by this machine's clock.
    Expired,
    /// Its time has not come, by this machine's clock.
    Early,
    /// It is for another host.
    Host,
    /// Something else.
    Other(String),
}

impl CertificateFault {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Authority => {
                "if the host has an authority of its own, name that one's certificate as `ca` in `ibuild.local.toml`"
            }
            Self::Expired => "whoever runs the host has to renew it: try another `mirror`, or plain http",
            Self::Early => "set the clock of this machine",
            Self::Host => "check the address that is set as `mirror`",
            Self::Other(_) => "try another `mirror`, or plain http: every file is checked by its signatures",
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "no authority that this machine believes has signed it",
            Self::Expired => "it has expired",
            Self::Early => "it is not valid yet",
            Self::Host => "it is for another host",
            Self::Other(why) => why,
        })
    }
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::InvalidPurpose => Self::Authority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::Early,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Host,
            other => Self::Other(other.to_string()),
        }
    }
}
