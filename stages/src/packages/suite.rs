//! How suites are called, checked once so that they may stand in a path, in `sources` and in a line of the lock.

use std::fmt;
use std::str::FromStr;

use super::{Name, PackageError};

/// A suite: words with slashes between them, mostly one. `trixie`, `trixie-security`, `stable/updates`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suite(String);

impl Suite {
    /// As sources call it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory of its Release under the base, with a slash at its end.
    pub fn directory(&self) -> String {
        format!("dists/{}/", self.0)
    }
}

impl FromStr for Suite {
    type Err = PackageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('/').all(|word| word.parse::<Name>().is_ok()) {
            true => Ok(Self(text.to_owned())),
            false => Err(PackageError::Name { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_a_directory() {
        let directory = |text: &str| text.parse::<Suite>().unwrap().directory();
        assert_eq!(directory("trixie"), "dists/trixie/");
        assert_eq!(directory("stable/updates"), "dists/stable/updates/");
        for bad in ["", "..", "a/../b", "a b", "/a", "a//b", "-a"] {
            assert!(bad.parse::<Suite>().is_err(), "{bad:?}");
        }
    }
}
