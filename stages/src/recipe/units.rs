//! Sizes and times as people write them: `100 GiB`, `240 s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// A number of bytes, written with the largest unit that loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A text that is not a size or a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what}")]
pub struct UnitError {
    what: &'static str,
    examples: &'static str,
    found: String,
}

impl UnitError {
    /// How such values are written, for a hint.
    pub fn examples(&self) -> &'static str {
        self.examples
    }
}

/// Largest first, which is the order in which [`ByteSize`] tries them.
const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
];

const TIMES: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        measure(text, &SIZES).map(ByteSize).ok_or_else(|| UnitError {
            what: "size",
            examples: "sizes are written like `100 GiB`, `768 MiB` or `64 KiB`",
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0.is_multiple_of(*factor);
        match SIZES.iter().find(fits) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// Reads a time such as `240 s`, `5 min` or `1 h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    measure(text, &TIMES).map(Duration::from_secs).ok_or_else(|| UnitError {
        what: "time",
        examples: "times are written like `240 s`, `5 min` or `1 h`",
        found: text.to_owned(),
    })
}

/// A whole number above zero and a unit; the space between them is optional.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|product| *product > 0)
}
