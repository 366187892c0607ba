//! TLS to mirrors and other places: whose certificates are believed, and what to say of one that is not.
//!
//! TLS is rustls with ring, which needs no C library of the host. Trusted authorities are those of the host's own file
//! and not a list that is compiled in, so the owner of the machine decides. The file is read when something is fetched
//! by https, so a host without it can use http mirrors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fetch::certificate::AuthorityError;
use crate::fetch::connect_error::ConnectError;

/// Where a Debian machine has the certificates of all authorities that it believes.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whose word is taken for who a server is: the machine's own authorities, and others that the user names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    bundle: PathBuf,
    named: Vec<PathBuf>,
}

impl Authorities {
    /// The machine's own, and those in these files.
    pub fn of_host(named: &[PathBuf]) -> Self {
        Self { bundle: BUNDLE.into(), named: named.to_vec() }
    }

    /// Whether they can be read.
    pub(crate) fn check(&self) -> Result<(), AuthorityError> {
        self.read().map(drop)
    }

    /// All of their certificates. Of the machine's own those count that can be read, as everywhere else; what somebody names
    /// has to be right.
    fn read(&self) -> Result<RootCertStore, AuthorityError> {
        let mut roots = RootCertStore::empty();
        match certificates(&self.bundle) {
            Ok(certificates) => drop(roots.add_parsable_certificates(certificates)),
            Err(pem::Error::Io(e)) if e.kind() == io::ErrorKind::NotFound && !self.named.is_empty() => {}
            Err(pem::Error::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
                return Err(AuthorityError::None(self.bundle.clone()));
            }
            Err(e) => return Err(unreadable(&self.bundle)(e)),
        }
        for path in &self.named {
            let certificates = certificates(path).map_err(unreadable(path))?;
            let count = certificates.len();
            let (_, bad) = roots.add_parsable_certificates(certificates);
            if count == 0 || bad > 0 {
                return Err(AuthorityError::Empty(path.clone()));
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

fn unreadable(path: &Path) -> impl FnOnce(pem::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Read { path, source: Arc::new(source) }
}

/// Speaks TLS to servers. The authorities are read when they are needed first: most builds need none.
pub(crate) struct Tls {
    authorities: Authorities,
    connector: OnceLock<Result<TlsConnector, AuthorityError>>,
}

impl Tls {
    pub(crate) fn new(authorities: Authorities) -> Self {
        Self { authorities, connector: OnceLock::new() }
    }

    /// Whether anything can be fetched in this way at all.
    pub(crate) fn check(&self) -> Result<(), AuthorityError> {
        self.connector().map(drop)
    }

    fn connector(&self) -> Result<&TlsConnector, AuthorityError> {
        let connector = self.connector.get_or_init(|| self.authorities.read().map(connector));
        connector.as_ref().map_err(AuthorityError::clone)
    }

    /// Makes a connection to `host` one that only `host` can read.
    pub(crate) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connected = self.connector()?.connect(name, stream).await;
        connected.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(fault)) => {
                    ConnectError::Certificate { host: host.to_owned(), fault: fault.into() }
                }
                _ => error.into(),
            }
        })
    }
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config).into()
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{MemoryIndex, Store};

    use super::*;
    use ibuild_debian::Url;

    use crate::{FallbackSources, Fetcher, Mirrors, NullFetchObserver, Patience, Upstream};

    fn read(bundle: Option<&str>, named: Option<&str>) -> Result<usize, AuthorityError> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: Option<&str>| {
            text.iter().for_each(|text| std::fs::write(dir.path().join(name), text).unwrap());
            dir.path().join(name)
        };
        let bundle = write("bundle", bundle);
        let named = named.map(|text| write("named", Some(text)));
        Authorities { bundle, named: named.into_iter().collect() }.read().map(|roots| roots.len())
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn whose_certificates_are_believed() {
        let (one, other) = (certificate(), certificate());
        assert_eq!(read(Some(&format!("{one}{other}")), None).unwrap(), 2);
        assert_eq!(read(Some(&one), Some(&other)).unwrap(), 2);
        assert_eq!(read(None, Some(&other)).unwrap(), 1);
    }

    #[test]
    fn authorities_that_cannot_be_used() {
        let check = |bundle, named, expected: &str, hint: &str| {
            let error = read(bundle, named).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        };
        check(None, None, "there is no `", "apt install ca-certificates");
        check(None, Some("no certificate"), "holds no certificate", "`ca`");
        let not = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(None, Some(not), "holds no certificate", "`ca`");
        check(None, Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "cannot read the certificates", "`ca`");
    }
    #[test]
    fn mirrors_with_https_alone_need_authorities() {
        let dir = tempfile::tempdir().unwrap();
        let authorities = Authorities { bundle: dir.path().join("none"), named: Vec::new() };
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let fetcher = |url: &str| {
            let url: Url = url.parse().unwrap();
            let (main, security) = (vec!["http://a/b".parse().unwrap()], vec![url]);
            let upstream = Upstream::Mirrors(Mirrors {
                main,
                security,
                elsewhere: FallbackSources::default(),
                authorities: authorities.clone(),
            });
            Fetcher::new(&store, upstream, Patience::default(), Arc::new(NullFetchObserver)).map(drop)
        };
        fetcher("http://127.0.0.1:1/x").unwrap();
        let error = fetcher("https://127.0.0.1:1/x").unwrap_err();
        assert!(error.hint().unwrap().starts_with("apt install ca-certificates"), "{error}");
    }
}
