//! Names of archives, suites, components, architectures and packages, checked once so that they may stand in a path,
//! in `sources` and in a line of the lock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One word of letters, digits and `+ - . _ ~` that starts with a letter or digit. It cannot be `..` and has
/// no slash, so a path made of names stays where it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a name: expected letters, digits and `+-._~`", text.escape_debug())]
pub struct NameError {
    /// What was given.
    pub text: String,
}

impl Name {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let may_stand = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(may_stand) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_only() {
        for good in ["trixie", "trixie-security", "non-free-firmware", "13", "a+b~c.d_e"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "..", "a/b", "a b", "-a", "a\n", "é"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
