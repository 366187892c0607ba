//! Where archives are, by the address that everybody knows them by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PackageError;

/// A place under which suites and a pool lie. Debian keeps its security updates on a host and in a directory of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Base {
    /// Debian's archive.
    Main,
    /// Debian's security updates.
    Security,
}

impl Base {
    /// Debian's, in the order of preference.
    pub const DEBIAN: [Self; 2] = [Self::Main, Self::Security];

    /// The address that stands in the image's sources, whatever mirror it was built from.
    pub fn canonical_url(&self) -> String {
        match self {
            Self::Main => "http://deb.debian.org/debian".to_owned(),
            Self::Security => "http://security.debian.org/debian-security".to_owned(),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Security => f.write_str("security"),
        }
    }
}

impl FromStr for Base {
    type Err = PackageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "main" => Ok(Self::Main),
            "security" => Ok(Self::Security),
            _ => Err(PackageError::Name { text: text.to_owned() }),
        }
    }
}
