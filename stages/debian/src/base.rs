//! Where archives are, by the address that everybody knows them by.
//!
//! Debian's two archives have names of their own, because they have mirrors. Any other archive is named by its address:
//! in the lock, in keys and in requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{NameError, Url};

/// A place under which suites and packages lie. Debian keeps its security updates on a host and in a directory of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Base {
    /// Debian's archive.
    Main,
    /// Debian's security updates.
    Security,
    /// Another archive, whose address is the only one that it is known by.
    At(Url),
}

impl Base {
    /// Debian's, in the order of preference.
    pub const DEBIAN: [Self; 2] = [Self::Main, Self::Security];

    /// Whether Debian's own keys sign what is there.
    pub fn is_debian(&self) -> bool {
        Self::DEBIAN.contains(self)
    }

    /// The address that stands in the image's sources, whatever mirror it was built from.
    pub fn canonical_url(&self) -> String {
        match self {
            Self::Main => "http://deb.debian.org/debian".to_owned(),
            Self::Security => "http://security.debian.org/debian-security".to_owned(),
            Self::At(url) => url.to_string(),
        }
    }
}

/// Every address of Debian's own archives. The main host carries the security archive as well, and many scripts know it
/// there.
pub fn debian_addresses() -> impl Iterator<Item = (Url, Base)> {
    let security_with_main = ("http://deb.debian.org/debian-security".to_owned(), Base::Security);
    let known = Base::DEBIAN.map(|base| (base.canonical_url(), base)).into_iter();
    let all = known.chain([security_with_main]);
    all.map(|(url, base)| (url.parse().expect("canonical addresses are addresses"), base))
}

/// Whether an address is one of Debian's own archive, or of its security updates.
pub fn is_debians(url: &Url) -> bool {
    let place = |url: &Url| (url.host().to_owned(), url.unusual_port(), url.path().to_owned());
    debian_addresses().any(|(known, _)| place(&known) == place(url))
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Security => f.write_str("security"),
            Self::At(url) => url.fmt(f),
        }
    }
}

impl FromStr for Base {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "main" => Ok(Self::Main),
            "security" => Ok(Self::Security),
            _ => text.parse().map(Self::At).map_err(|_| NameError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_addresses() {
        let check = |text: &str, url: &str| {
            let base: Base = text.parse().unwrap();
            assert_eq!((base.to_string().as_str(), base.canonical_url().as_str()), (text, url));
        };
        check("main", "http://deb.debian.org/debian");
        check("security", "http://security.debian.org/debian-security");
        check("https://deb.example.org/tor", "https://deb.example.org/tor");
        assert!("other".parse::<Base>().is_err() && "ftp://x/y".parse::<Base>().is_err());
    }

    #[test]
    fn debians_own_addresses() {
        for (url, expected) in [
            ("http://deb.debian.org/debian/", true),
            ("https://deb.debian.org/debian-security", true),
            ("http://deb.debian.org:8080/debian", false),
            ("http://deb.debian.org/debian-debug", false),
            ("http://deb.example.org/debian", false),
        ] {
            assert_eq!(is_debians(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
