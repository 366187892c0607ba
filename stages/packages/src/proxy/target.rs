//! What a request to the proxy is about.

use std::fmt;

use hyper::{Method, Uri};

use crate::proxy::address::Addresses;
use ibuild_debian::{Base, Scheme, decode};

/// A file under the address of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) base: Base,
    pub(crate) path: String,
}

/// Why a request is about nothing that the proxy serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The client wants to speak to a host itself.
    Tunnel(String),
    /// Only files are served.
    Method(Method),
    /// The request is not one to a proxy.
    NotProxied,
    /// The host is no archive.
    Host(String),
    /// The path cannot be one of an archive.
    Path(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunnel(host) => write!(
                f,
                "https to {host} is not served, because nothing there could be verified: \
                 use http and an address of the archive, whose files are signed"
            ),
            Self::Method(method) => write!(f, "{method} is not served, only GET and HEAD"),
            Self::NotProxied => {
                f.write_str("this is a proxy for apt: ask for a whole address, http://HOST/PATH")
            }
            Self::Host(host) => write!(f, "{host} is not part of the declared archive"),
            Self::Path(path) => write!(f, "{path} is no path of an archive"),
        }
    }
}

impl Target {
    /// Reads the line of a request.
    pub(crate) fn parse(method: &Method, uri: &Uri, addresses: &Addresses) -> Result<Self, Refusal> {
        if method == Method::CONNECT {
            return Err(Refusal::Tunnel(host_of(uri)));
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::Method(method.clone()));
        }
        let host = uri.host().ok_or(Refusal::NotProxied)?;
        let bad_path = || Refusal::Path(uri.path().to_owned());
        let path = decode(uri.path()).ok_or_else(bad_path)?;
        let port = uri.port_u16().filter(|port| *port != scheme(uri).port());
        let found = addresses.find(&host.to_ascii_lowercase(), port, &path);
        let (base, file) = found.ok_or_else(|| match path.trim_start_matches('/').contains('/') {
            true => Refusal::Host(host_of(uri)),
            false => bad_path(),
        })?;
        // apt asks for files of a flat repository with the `./` that its sources have.
        let parts: Vec<_> = file.split('/').filter(|part| *part != ".").collect();
        if parts.is_empty() || parts.iter().any(|part| matches!(*part, "" | "..")) {
            return Err(bad_path());
        }
        Ok(Self { base: base.clone(), path: parts.join("/") })
    }
}

/// Requests that come through a tunnel are for https.
fn scheme(uri: &Uri) -> Scheme {
    if uri.scheme_str() == Some(Scheme::Https.name()) { Scheme::Https } else { Scheme::Http }
}

fn host_of(uri: &Uri) -> String {
    uri.authority().map_or_else(String::new, |authority| authority.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authorities, FallbackSources, Mirrors};

    fn get(uri: &str) -> Result<Target, Refusal> {
        Target::parse(&Method::GET, &uri.parse().unwrap(), &Addresses::canonical())
    }

    #[test]
    fn canonical_addresses() {
        let check = |uri: &str, base: Base, path: &str| {
            assert_eq!(get(uri), Ok(Target { base, path: path.to_owned() }), "{uri}");
        };
        check("http://deb.debian.org/debian/dists/trixie/InRelease", Base::Main, "dists/trixie/InRelease");
        check("http://deb.debian.org/debian/pool/g%2b%2b_1%7e2.deb", Base::Main, "pool/g++_1~2.deb");
        check("http://security.debian.org/debian-security/dists/x", Base::Security, "dists/x");
        check("http://deb.debian.org:80/debian-security/dists/x", Base::Security, "dists/x");
        check("https://deb.debian.org/debian/dists/x", Base::Main, "dists/x");
        check("https://deb.debian.org:443/debian/dists/x", Base::Main, "dists/x");
    }

    #[test]
    fn mirrors_are_the_same_archive() {
        let mirror = |text: &str| vec![text.parse().unwrap()];
        let mirrors = Mirrors {
            main: mirror("http://Lan.example:8080/pub/debian/"),
            security: mirror("https://[::1]/sec"),
            elsewhere: FallbackSources::default(),
            authorities: Authorities::of_host(&[]),
        };
        let addresses = Addresses::canonical().with(&mirrors);
        let get = |uri: &str| Target::parse(&Method::GET, &uri.parse().unwrap(), &addresses);
        let target = |base, path: &str| Ok(Target { base, path: path.to_owned() });
        assert_eq!(get("http://lan.example:8080/pub/debian/pool/x"), target(Base::Main, "pool/x"));
        assert_eq!(get("http://[::1]/sec/dists/y"), target(Base::Security, "dists/y"));
        assert_eq!(get("http://deb.debian.org/debian/pool/x"), target(Base::Main, "pool/x"));
        assert!(matches!(get("http://lan.example/pub/debian/pool/x"), Err(Refusal::Host(_))));
        assert!(matches!(get("http://lan.example:8080/pub/debian-ports/x"), Err(Refusal::Host(_))));
    }

    #[test]
    fn everything_else() {
        for uri in [
            "http://example.org/debian/x",
            "http://deb.debian.org:8080/debian/x",
            "http://deb.debian.org:443/debian/x",
            "https://deb.debian.org:80/debian/x",
            "http://deb.debian.org/other/x",
        ] {
            assert!(matches!(get(uri), Err(Refusal::Host(_))), "{uri}");
        }
        for path in [
            "debian/../x",
            "debian/%2e%2e/x",
            "debian//x",
            "debian/%00",
            "debian/%f",
            "debian/%ff",
            "debian",
            "",
        ] {
            assert!(matches!(get(&format!("http://deb.debian.org/{path}")), Err(Refusal::Path(_))), "{path}");
        }
        assert_eq!(get("/debian/x"), Err(Refusal::NotProxied));
        let other = |method: Method, uri: &str| {
            Target::parse(&method, &uri.parse().unwrap(), &Addresses::canonical()).unwrap_err()
        };
        let post = other(Method::POST, "http://deb.debian.org/debian/x");
        assert_eq!(post, Refusal::Method(Method::POST));
        let connect = other(Method::CONNECT, "example.org:443");
        assert!(connect.to_string().starts_with("https to example.org:443 is not served"), "{connect}");
    }
}
