//! Where archives are, by the address that everybody knows them by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{PackageError, Url};

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
    type Err = PackageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "main" => Ok(Self::Main),
            "security" => Ok(Self::Security),
            _ => text.parse().map(Self::At).map_err(|_| PackageError::Name { text: text.to_owned() }),
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
}
