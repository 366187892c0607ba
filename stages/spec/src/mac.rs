//! Addresses of network cards.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The address of one network card (IEEE 802 MAC-48). One that was read from text is a card's: unicast, and not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Twelve upper-case hex digits, as VirtualBox writes it.
    pub fn plain(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// Lower-case hex with colons, as Linux and QEMU write it.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is not the address of a network card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// It is written in another way.
    #[error("`{text}` is not a MAC address")]
    Form {
        /// The text.
        text: String,
        /// The address that it probably means.
        meant: Option<Mac>,
    },
    /// The lowest bit of the first byte is set: no card can have it as its own.
    #[error("`{0}` is the MAC address of a group")]
    Group(Mac),
    /// All bits are zero.
    #[error("`{0}` is the MAC address of no card")]
    Zero(Mac),
}

impl MacError {
    /// How such an address is written.
    pub fn hint(&self) -> String {
        match self {
            Self::Form { meant: Some(mac), .. } => format!("write `{mac}`"),
            Self::Form { .. } => "MAC addresses are written like `52:54:00:12:34:56`".to_owned(),
            Self::Group(Mac([first, rest @ ..])) => {
                let [b, c, d, e, f] = *rest;
                format!("the first byte of a card's is even, as in `{}`", Mac([first & !1, b, c, d, e, f]))
            }
            Self::Zero(_) => "write one such as `52:54:00:12:34:56`".to_owned(),
        }
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Six bytes in hex, separated by colons. Other spellings are errors that know what is meant.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let form = |meant| MacError::Form { text: text.to_owned(), meant };
        let Some(mac) = with_colons(text) else {
            let digits: String = text.chars().filter(|c| !":-. ".contains(*c)).collect();
            return Err(form(bytes(&digits)));
        };
        match mac.0 {
            [0, 0, 0, 0, 0, 0] => Err(MacError::Zero(mac)),
            [first, ..] if first & 1 == 1 => Err(MacError::Group(mac)),
            _ => Ok(mac),
        }
    }
}

fn with_colons(text: &str) -> Option<Mac> {
    let parts: Vec<_> = text.split(':').collect();
    let is_right = parts.len() == 6 && parts.iter().all(|part| part.len() == 2);
    is_right.then(|| bytes(&parts.concat())).flatten()
}

/// The address of twelve hex digits.
fn bytes(digits: &str) -> Option<Mac> {
    let is_right = digits.len() == 12 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    let number = is_right.then(|| u64::from_str_radix(digits, 16).ok()).flatten()?;
    let [_, _, mac @ ..] = number.to_be_bytes();
    Some(Mac(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let mac = Mac([0x08, 0, 0x27, 0xab, 1, 0xff]);
        assert_eq!(mac.plain(), "080027AB01FF");
        assert_eq!(mac.to_string(), "08:00:27:ab:01:ff");
        assert_eq!("08:00:27:AB:01:ff".parse(), Ok(mac));
    }

    #[test]
    fn what_is_no_address_says_what_is_meant() {
        let check = |text: &str, message: &str, hint: &str| {
            let error = text.parse::<Mac>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.hint().as_str()), (message, hint));
        };
        check("080027ab01ff", "`080027ab01ff` is not a MAC address", "write `08:00:27:ab:01:ff`");
        check("08-00-27-AB-01-FF", "`08-00-27-AB-01-FF` is not a MAC address", "write `08:00:27:ab:01:ff`");
        let like = "MAC addresses are written like `52:54:00:12:34:56`";
        for text in ["", "08:00:27:ab:01", "08:00:27:ab:01:ff:00", "08:00:27:ab:01:fg", "é8:00:27:ab:01:f"] {
            check(text, &format!("`{text}` is not a MAC address"), like);
        }
        check(
            "01:00:5e:00:00:01",
            "`01:00:5e:00:00:01` is the MAC address of a group",
            "the first byte of a card's is even, as in `00:00:5e:00:00:01`",
        );
        check(
            "00:00:00:00:00:00",
            "`00:00:00:00:00:00` is the MAC address of no card",
            "write one such as `52:54:00:12:34:56`",
        );
    }
}
