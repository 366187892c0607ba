//! Addresses of mirrors and archives. Plain http is as good as https: the signature chain protects the content and not the channel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    /// What stands before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where none is named.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An http or https address. Written down as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
    /// Starts with a slash, or is empty; does not end with one.
    path: String,
}

/// Why a text is not an address that can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("`{0}` is not an http or https address")]
    NotHttp(String),
    /// No host, a bad port, or a user name.
    #[error("`{0}` has no usable host")]
    Host(String),
    /// Characters that cannot stand in a request.
    #[error("`{0}` has no usable path")]
    Path(String),
}

impl UrlError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        "an address looks like `http://deb.debian.org/debian`".to_owned()
    }
}

impl Url {
    /// The host, as it stands in the `Host` header.
    pub fn authority(&self) -> String {
        match self.unusual_port() {
            None => self.host.clone(),
            Some(port) => format!("{}:{port}", self.host),
        }
    }

    /// How to speak to the host.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The port, if it is not the usual one.
    pub fn unusual_port(&self) -> Option<u16> {
        Some(self.port).filter(|port| *port != self.scheme.port())
    }

    /// Host and port to connect to.
    pub fn address(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path, as it stands in a request.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// A file under this address. Encoded exactly as apt does it, because that is what every mirror is used to.
    pub fn join(&self, file: &str) -> Self {
        let mut path = format!("{}/", self.path);
        for byte in file.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b':' => {
                    path.push(byte.into())
                }
                _ => path.push_str(&format!("%{byte:02x}")),
            }
        }
        Self { path, ..self.clone() }
    }

    /// Where a `Location` header points, seen from here.
    pub fn follow(&self, location: &str) -> Result<Self, UrlError> {
        if location.starts_with('/') && !location.starts_with("//") {
            check_path(location)?;
            return Ok(Self { path: location.to_owned(), ..self.clone() });
        }
        location.parse()
    }
}

/// The path that a request means: apt writes `+` as `%2b` and `~` as `%7e`. `None` for what is no text, or controls a terminal.
pub fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'%' => bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8),
            _ => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(char::is_control)).then_some(text)
}

fn check_path(path: &str) -> Result<(), UrlError> {
    match path.is_empty() || path.parse::<http::Uri>().is_ok() {
        true => Ok(()),
        false => Err(UrlError::Path(path.to_owned())),
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let with = |scheme: Scheme| Some((scheme, text.strip_prefix(scheme.name())?.strip_prefix("://")?));
        let found = with(Scheme::Http).or_else(|| with(Scheme::Https));
        let (scheme, rest) = found.ok_or_else(|| UrlError::NotHttp(text.to_owned()))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let bad_host = || UrlError::Host(text.to_owned());
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad_host())?),
            _ => (authority, scheme.port()),
        };
        let may_stand = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        if host.is_empty() || !host.chars().all(may_stand) {
            return Err(bad_host());
        }
        check_path(path)?;
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, path })
    }
}

impl TryFrom<String> for Url {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.to_string()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url: Url = "http://Mirror.example:3142/debian/".parse().unwrap();
        assert_eq!(url.address(), ("mirror.example", 3142));
        assert_eq!(url.to_string(), "http://mirror.example:3142/debian");
        let file = url.join("pool/main/g/g++_1~2.deb");
        assert_eq!(file.path(), "/debian/pool/main/g/g%2b%2b_1%7e2.deb");
        assert_eq!("http://[::1]:80/x".parse::<Url>().unwrap().address(), ("::1", 80));
        assert_eq!("http://host".parse::<Url>().unwrap().path(), "/");
    }

    #[test]
    fn two_schemes() {
        let url: Url = "https://Mirror.example/debian/".parse().unwrap();
        assert_eq!((url.scheme(), url.address()), (Scheme::Https, ("mirror.example", 443)));
        assert_eq!(url.join("x").to_string(), "https://mirror.example/debian/x");
        let url: Url = "https://mirror.example:80/x".parse().unwrap();
        assert_eq!((url.authority().as_str(), url.unusual_port()), ("mirror.example:80", Some(80)));
        assert_eq!("http://mirror.example:443".parse::<Url>().unwrap().authority(), "mirror.example:443");
    }

    #[test]
    fn not_addresses() {
        let error = |text: &str| text.parse::<Url>().unwrap_err();
        for bad in ["ftp://deb.debian.org", "httpx://deb.debian.org", "https:deb.debian.org", "//deb"] {
            assert!(matches!(error(bad), UrlError::NotHttp(_)), "{bad}");
        }
        for bad in ["http:///debian", "http://me:secret@host/", "http://host:port/", "http://a b/"] {
            assert!(matches!(error(bad), UrlError::Host(_)), "{bad}");
        }
    }

    #[test]
    fn redirects() {
        let url: Url = "http://a/debian".parse().unwrap();
        assert_eq!(url.follow("/x/y").unwrap().to_string(), "http://a/x/y");
        assert_eq!(url.follow("http://b/z").unwrap().to_string(), "http://b/z");
        let secure = url.follow("https://b/z").unwrap();
        assert_eq!((secure.scheme(), secure.follow("/y").unwrap().scheme()), (Scheme::Https, Scheme::Https));
        assert_eq!(secure.follow("http://b/z").unwrap().to_string(), "http://b/z");
        assert!(matches!(url.follow("ftp://b/z"), Err(UrlError::NotHttp(_))));
        assert!(matches!(url.follow("/not a path"), Err(UrlError::Path(_))));
        assert!(matches!(url.follow("http://b/not a path"), Err(UrlError::Path(_))));
    }
}
