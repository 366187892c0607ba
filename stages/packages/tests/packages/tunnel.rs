//! What a stage gets by https.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ibuild_packages::{CacheStatus, Proxy, ServeGuard, StageTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::archive::{Setup, small};
use crate::client::request;

const SMALL: &str = "pool/main/s/small_1%2bb%7e1_amd64.deb";

/// A stage that is served, and what its apt believes.
struct Stage {
    proxy: SocketAddr,
    guard: ServeGuard,
    authority: String,
}

impl Stage {
    fn of(setup: &Setup) -> Self {
        let view = setup.view(&setup.record().unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = listener.local_addr().unwrap();
        let tls = StageTls::new(&view, std::time::SystemTime::now(), Duration::from_secs(60)).unwrap();
        let authority = tls.authority().to_owned();
        let guard = Proxy::new(&setup.fetcher).serve(listener, "hello/tools", view, tls).unwrap();
        Self { proxy, guard, authority }
    }

    /// Opens a tunnel to `host`, in which the client wants to see the certificate of `name`.
    fn tunnel(&self, host: &str, name: &str, authority: &str) -> Tunnel {
        let mut stream = TcpStream::connect(self.proxy).unwrap();
        write!(stream, "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert_eq!(String::from_utf8(head).unwrap().lines().next(), Some("HTTP/1.1 200 OK"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }
}

type Tunnel = StreamOwned<ClientConnection, TcpStream>;

/// Asks for several files in one tunnel, one after the other.
fn get(tunnel: &mut Tunnel, paths: &[&str]) -> Vec<u8> {
    for (at, path) in paths.iter().enumerate() {
        let last = if at + 1 == paths.len() { "Connection: close\r\n" } else { "" };
        write!(tunnel, "GET {path} HTTP/1.1\r\nHost: deb.debian.org\r\n{last}\r\n").unwrap();
    }
    let mut all = Vec::new();
    // How a connection ends is no matter: the last answer says so.
    let _ = tunnel.read_to_end(&mut all);
    all
}

#[test]
fn a_tunnel_leads_to_the_frozen_archive() {
    let setup = Setup::with_archive();
    let stage = Stage::of(&setup);
    let mut tunnel = stage.tunnel("deb.debian.org", "deb.debian.org", &stage.authority);
    let file = format!("/debian/{SMALL}");
    let all = get(&mut tunnel, &[&file, "/debian/dists/sid/InRelease", &file]);
    assert!(all.starts_with(b"HTTP/1.1 200 OK\r\n") && all.ends_with(&small()));
    let refused = "ibuild: stage `hello/tools` asked for https://deb.debian.org/debian/dists/sid/InRelease: ";
    assert!(String::from_utf8_lossy(&all).contains(refused));
    drop(tunnel);
    let fetches = stage.guard.finish();
    let told: Vec<_> = fetches.iter().map(|fetch| (fetch.address.as_str(), fetch.verdict)).collect();
    let whole = format!("https://deb.debian.org{file}");
    assert_eq!(told[0], (whole.as_str(), CacheStatus::Miss));
    assert_eq!(told[2], (whole.as_str(), CacheStatus::Hit));
}

#[test]
fn other_tunnels_are_refused_by_name() {
    let setup = Setup::with_archive();
    let stage = Stage::of(&setup);
    for host in ["example.org:443", "deb.debian.org:22", "deb.debian.org.example:443", "169.254.169.254:443"]
    {
        let response = request(stage.proxy, "CONNECT", host, &[]);
        assert_eq!(response.status, 403);
        let why = format!("asked for {host}: https to {host} is not served");
        assert!(response.text().contains(&why), "{}", response.text());
    }
}

#[test]
fn the_authority_of_a_stage_is_good_for_nothing_else() {
    let setup = Setup::with_archive();
    let (stage, other) = (Stage::of(&setup), Stage::of(&setup));
    let fault = |mut tunnel: Tunnel| {
        let error = tunnel.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(fault)) => fault.clone(),
            _ => panic!("{error:?}"),
        }
    };
    let strange = stage.tunnel("deb.debian.org", "deb.debian.org", &other.authority);
    assert!(matches!(fault(strange), CertificateError::BadSignature | CertificateError::UnknownIssuer));
    let name = stage.tunnel("deb.debian.org", "security.debian.org", &stage.authority);
    assert!(matches!(fault(name), CertificateError::NotValidForNameContext { .. }));
}

#[test]
fn what_a_tunnel_does_with_noise() {
    let setup = Setup::with_archive();
    let stage = Stage::of(&setup);
    let tunnel = stage.tunnel("security.debian.org", "security.debian.org", &stage.authority);
    let mut stream = tunnel.sock;
    stream.write_all(b"GET /debian-security/x HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
}
