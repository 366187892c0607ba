//! How suites are called, checked once so that they may stand in a path, in `sources` and in a line of the lock.

use std::fmt;
use std::str::FromStr;

use crate::{Name, NameError};

/// A suite: words with slashes between them, mostly one. `trixie`, `trixie-security`, `stable/updates`. With a slash at its
/// end it is the directory of a flat repository, which has no components: `./`, `debian/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suite(String);

impl Suite {
    /// As sources call it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a flat repository.
    pub fn is_flat(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The directory of its Release under the base, with a slash at its end; empty for the base itself.
    pub fn directory(&self) -> String {
        match self.words() {
            words if !self.is_flat() => format!("dists/{words}/"),
            "" => String::new(),
            words => format!("{words}/"),
        }
    }

    /// Without what says that it is flat.
    fn words(&self) -> &str {
        match self.0.strip_suffix('/') {
            Some("" | ".") => "",
            Some(flat) => flat.strip_prefix("./").unwrap_or(flat),
            None => &self.0,
        }
    }
}

impl FromStr for Suite {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let suite = Self(text.to_owned());
        let is_base = matches!(text, "/" | "./");
        match is_base || suite.words().split('/').all(|word| word.parse::<Name>().is_ok()) {
            true => Ok(suite),
            false => Err(NameError { text: text.to_owned() }),
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
        for (text, expected) in [("./", ""), ("/", ""), ("debian/", "debian/"), ("./a/b/", "a/b/")] {
            assert_eq!(
                (directory(text).as_str(), text.parse::<Suite>().unwrap().is_flat()),
                (expected, true)
            );
        }
        for bad in ["", "..", "a/../b", "a b", "/a", "a//b", "-a", "../", "a//", "//", ".a/", "/a/", ".//"] {
            assert!(bad.parse::<Suite>().is_err(), "{bad:?}");
        }
    }
}
