//! What a stage asks for by https. The proxy has the archives' files, so it answers in place of their hosts: with
//! certificates of an authority that is made for one stage, is good for nothing but these hosts, and is known to that stage's
//! apt alone. The key that signs them is gone before the stage begins.
//!
//! A tunnel to the outside would be neither frozen nor verified. The stand-alone proxy refuses `CONNECT`: its clients
//! would have to trust a CA of ibuild permanently.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Uri};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::PackageError;
use crate::archive::view::ArchiveView;
use crate::proxy::address::Addresses;
use ibuild_debian::Scheme;

/// How far the clock of a stage's programs may differ: it is the machine's own, but somebody may set that one.
const LEEWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The archive's hosts, as one stage sees them by https.
#[derive(Clone)]
pub struct StageTls {
    authority: String,
    /// By host and port.
    acceptors: BTreeMap<(String, u16), TlsAcceptor>,
}

/// A connection that a client wants to be one to another host.
pub(crate) struct Tunnel {
    /// Whose place is taken: a host, and its port if that is not the usual one.
    pub authority: String,
    /// Who takes it.
    pub acceptor: TlsAcceptor,
    /// The connection, once the client has been told.
    pub upgrade: OnUpgrade,
}

impl StageTls {
    /// For a stage that sees `view`, begins at `begin` by its own clock, and ends within `lifetime`.
    pub fn new(view: &ArchiveView, begin: SystemTime, lifetime: Duration) -> Result<Self, PackageError> {
        let validity = Validity::of(begin, lifetime);
        Self::for_servers(Addresses::of(view).secure(), validity).map_err(PackageError::StageTls)
    }

    /// The certificate of the authority, for the stage's apt.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    fn for_servers(servers: BTreeSet<(String, u16)>, validity: Validity) -> Result<Self, rcgen::Error> {
        let hosts = servers.iter().map(|(host, _)| host.clone()).collect();
        let (parameters, key) = (authority(&hosts, validity), KeyPair::generate()?);
        let authority = parameters.self_signed(&key)?.pem();
        let issuer = Issuer::new(parameters, key);
        let acceptor = |server: (String, u16)| {
            let acceptor = acceptor(&server.0, &issuer, validity)?;
            Ok((server, acceptor))
        };
        let acceptors = servers.into_iter().map(acceptor).collect::<Result<_, rcgen::Error>>()?;
        Ok(Self { authority, acceptors })
    }

    /// The tunnel that a request asks for, if it is to a host whose place can be taken.
    pub(crate) fn tunnel<B>(&self, request: &mut Request<B>) -> Option<Tunnel> {
        let uri = request.uri();
        let port = uri.port_u16().filter(|_| request.method() == Method::CONNECT)?;
        let host = uri.host()?.to_ascii_lowercase();
        let authority = if port == Scheme::Https.port() { host.clone() } else { format!("{host}:{port}") };
        let acceptor = self.acceptors.get(&(host, port))?.clone();
        Some(Tunnel { authority, acceptor, upgrade: hyper::upgrade::on(request) })
    }
}

/// What an authority may vouch for: these hosts, and no other authority.
fn authority(hosts: &BTreeSet<String>, validity: Validity) -> CertificateParams {
    let mut parameters = validity.parameters();
    parameters.distinguished_name.push(DnType::CommonName, "ibuild, for one stage");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let subtree = |host: &String| match ip(host) {
        Some(address @ IpAddr::V4(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 32)),
        Some(address) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 128)),
        None => GeneralSubtree::DnsName(host.clone()),
    };
    let permitted_subtrees = hosts.iter().map(subtree).collect();
    parameters.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    parameters
}

/// The address that stands in the place of a host's name.
fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// From when to when a certificate is valid. Times since 1970.
#[derive(Clone, Copy)]
struct Validity {
    begin: Duration,
    end: Duration,
}

impl Validity {
    fn of(begin: SystemTime, lifetime: Duration) -> Self {
        let begin = begin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { begin: begin.saturating_sub(LEEWAY), end: begin + lifetime + LEEWAY }
    }

    fn parameters(self) -> CertificateParams {
        let epoch = date_time_ymd(1970, 1, 1);
        let mut parameters = CertificateParams::default();
        parameters.not_before = epoch + self.begin;
        parameters.not_after = epoch + self.end;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
    }
}

fn acceptor(
    host: &str,
    issuer: &Issuer<'_, KeyPair>,
    validity: Validity,
) -> Result<TlsAcceptor, rcgen::Error> {
    let mut parameters = validity.parameters();
    parameters.subject_alt_names = vec![match ip(host) {
        Some(address) => SanType::IpAddress(address),
        None => SanType::DnsName(host.try_into()?),
    }];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate: CertificateDer<'static> = parameters.signed_by(&key, issuer)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("the key is the certificate's");
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A request that came through a tunnel, as it would be to a proxy: with its whole address.
pub(crate) fn addressed<B>(mut request: Request<B>, host: &str) -> Request<B> {
    let file = request.uri().path_and_query().map(|file| file.as_str());
    let file = file.filter(|file| file.starts_with('/')).unwrap_or("/");
    let whole = Uri::builder().scheme(Scheme::Https.name()).authority(host).path_and_query(file).build();
    *request.uri_mut() = whole.expect("each part is one of an address");
    request
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Whether a client that believes the authority of two hosts believes a certificate that it gives to `host`.
    fn is_believed(host: &'static str) -> bool {
        let hosts = ["a.example", "b.example", "192.0.2.1", "[2001:db8::1]"].map(str::to_owned).into();
        let (parameters, key) =
            (authority(&hosts, Validity::of(SystemTime::now(), LEEWAY)), KeyPair::generate().unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(parameters.self_signed(&key).unwrap().der().clone()).unwrap();
        let acceptor =
            acceptor(host, &Issuer::new(parameters, key), Validity::of(SystemTime::now(), LEEWAY)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (client, server) = tokio::io::duplex(1 << 16);
            let serving = tokio::spawn(async move { acceptor.accept(server).await.map(drop) });
            let name = host.trim_start_matches('[').trim_end_matches(']');
            let connected = connector.connect(ServerName::try_from(name).unwrap(), client).await;
            drop(serving.await);
            connected.is_ok()
        })
    }

    #[test]
    fn an_authority_is_good_for_its_hosts_alone() {
        assert!(is_believed("a.example") && is_believed("b.example"));
        assert!(!is_believed("c.example") && !is_believed("example"));
        assert!(is_believed("192.0.2.1") && is_believed("[2001:db8::1]"));
        assert!(!is_believed("192.0.2.2") && !is_believed("[2001:db8::2]"));
    }

    #[test]
    fn requests_in_a_tunnel_get_whole_addresses() {
        let addressed = |uri: &str| {
            let request = Request::get(uri).body(()).unwrap();
            addressed(request, "a.example").uri().to_string()
        };
        assert_eq!(addressed("/debian/g%2b%2b?x"), "https://a.example/debian/g%2b%2b?x");
        assert_eq!(addressed("http://elsewhere/debian/x"), "https://a.example/debian/x");
        assert_eq!(addressed("*"), "https://a.example/");
        assert_eq!(addressed("elsewhere:443"), "https://a.example/");
    }
}
