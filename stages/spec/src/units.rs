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
#[error("`{found}` {}", .mistake.words(.quantity))]
pub struct UnitError {
    quantity: &'static Quantity,
    mistake: Mistake,
    found: String,
}

/// What can be measured.
#[derive(Debug, PartialEq, Eq)]
struct Quantity {
    what: &'static str,
    examples: &'static str,
    /// Largest first, which is the order in which they are tried for a number.
    units: &'static [(&'static str, u64)],
}

const SIZE: Quantity = Quantity {
    what: "size",
    examples: "sizes are written like `100 GiB`, `768 MiB` or `64 KiB`",
    units: &[
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("kB", 1_000),
    ],
};

const TIME: Quantity = Quantity {
    what: "time",
    examples: "times are written like `240 s`, `5 min` or `1 h`",
    units: &[("h", 3600), ("min", 60), ("s", 1)],
};

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mistake {
    /// It is no number and a unit of the quantity.
    Form,
    NoUnit,
    Zero,
    /// The number has a fraction. The same with a smaller unit and without one, if there is such a unit.
    Fraction(Option<String>),
    TooLarge,
}

impl Mistake {
    fn words(&self, quantity: &Quantity) -> String {
        match self {
            Self::Form => format!("is not a {}", quantity.what),
            Self::NoUnit => "has no unit".to_owned(),
            Self::Zero => "is not above zero".to_owned(),
            Self::Fraction(_) => "is not a whole number".to_owned(),
            Self::TooLarge => "is too large".to_owned(),
        }
    }
}

impl UnitError {
    /// How the value is written.
    pub fn hint(&self) -> String {
        match &self.mistake {
            Mistake::Fraction(Some(whole)) => format!("write `{whole}`"),
            Mistake::Fraction(None) => {
                format!("use a smaller unit and a whole number: {}", self.quantity.examples)
            }
            _ => self.quantity.examples.to_owned(),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        SIZE.measure(text).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE.written(self.0) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// Reads a time such as `240 s`, `5 min` or `1 h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    TIME.measure(text).map(Duration::from_secs)
}

impl Quantity {
    /// A whole number above zero and a unit; the space between them is optional.
    fn measure(&'static self, text: &str) -> Result<u64, UnitError> {
        let error = |mistake| UnitError { quantity: self, mistake, found: text.to_owned() };
        let (number, unit) = text.split_at(text.find(|c| !is_of_number(c)).unwrap_or(text.len()));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let is_number = !whole.is_empty() && !decimals.contains('.') && !number.ends_with('.');
        let factor = self.units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '));
        let (_, factor) = match factor.filter(|_| is_number) {
            Some(factor) => factor,
            None if is_number && unit.is_empty() => return Err(error(Mistake::NoUnit)),
            None => return Err(error(Mistake::Form)),
        };
        if !decimals.is_empty() {
            return Err(error(Mistake::Fraction(self.without_fraction(whole, decimals, *factor))));
        }
        let product = whole.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        match product {
            Some(0) => Err(error(Mistake::Zero)),
            Some(product) => Ok(product),
            None => Err(error(Mistake::TooLarge)),
        }
    }

    fn without_fraction(&self, whole: &str, decimals: &str, factor: u64) -> Option<String> {
        let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
        let scaled = digits.checked_mul(u128::from(factor)).filter(|scaled| scaled.is_multiple_of(scale))?;
        self.written(u64::try_from(scaled / scale).ok().filter(|amount| *amount > 0)?)
    }

    /// With the largest unit of which it is a whole number.
    fn written(&self, amount: u64) -> Option<String> {
        let (unit, factor) = self.units.iter().find(|(_, factor)| amount.is_multiple_of(*factor))?;
        Some(format!("{} {unit}", amount / factor))
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}
