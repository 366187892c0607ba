//! Debian's order of versions (deb-version(7)), as dpkg computes it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The version of a package: letters, digits and `. + - ~ :`, of which the first is a letter or digit. So it may stand in a line of the
/// lock. Policy 5.6.12 wants a digit in front; some archives have letters there, and dpkg only warns of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// Why a text is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a version: expected letters, digits and `.+-~:`", text.escape_debug())]
pub struct VersionError {
    /// What was given.
    pub text: String,
}

impl Version {
    /// As the archive writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let may_stand = |c: char| c.is_ascii_alphanumeric() || ".+-~:_".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(may_stand) {
            return Ok(Self(text.to_owned()));
        }
        Err(VersionError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares two versions: epoch, then upstream version, then revision.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| compare_part(a_upstream.as_bytes(), b_upstream.as_bytes()))
        .then_with(|| compare_part(a_revision.as_bytes(), b_revision.as_bytes()))
}

/// An epoch that is no number never occurs in an archive; it counts as none.
fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// Alternates between runs of other characters and runs of digits until a difference is found.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let order = compare_text(&mut a, &mut b).then_with(|| compare_number(&mut a, &mut b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Letters come before everything else, and `~` before even the end.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(digit) if digit.is_ascii_digit() => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn compare_text(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    let is_text = |rest: &[u8]| rest.first().is_some_and(|byte| !byte.is_ascii_digit());
    while is_text(a) || is_text(b) {
        let order = weight(a.first()).cmp(&weight(b.first()));
        if order != Ordering::Equal {
            return order;
        }
        (*a, *b) = (&a[1..], &b[1..]);
    }
    Ordering::Equal
}

/// Numbers may be longer than any integer type: without leading zeros, the longer one is the greater.
fn compare_number(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    let (a, b) = (take_number(a), take_number(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn take_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, expected: Ordering, b: &str) {
        assert_eq!(compare(a, b), expected, "{a} {expected:?} {b}");
        assert_eq!(compare(b, a), expected.reverse(), "{b} {a}");
    }

    #[test]
    fn as_dpkg_does_it() {
        for (less, greater) in [
            ("1.0", "1.1"),
            ("1.9", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0~rc1-1", "1.0-1"),
            ("1.0", "1.0-1"),
            ("1.0-1", "1.0-1+deb13u1"),
            ("1.0-1~bpo12+1", "1.0-1"),
            ("9:1", "10:0"),
            ("2", "1:1"),
            ("1.0a", "1.0+"),
            ("1.0-1", "1.0-1.1"),
            ("1.2-3", "1.2.1-1"),
            ("1.0a", "1.0b"),
            ("99999999999999999999998", "99999999999999999999999"),
            ("2.41-12", "2.41-12+deb13u1"),
        ] {
            check(less, Ordering::Less, greater);
        }
        for (a, b) in [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.0-0", "1.0"), ("1.0", "1.0-")] {
            check(a, Ordering::Equal, b);
        }
    }
}
