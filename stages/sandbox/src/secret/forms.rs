//! The forms in which a secret is recognised: as it is, line by line, and in the encodings that tools put it into on their own.
//!
//! | form | which texts have it |
//! |---|---|
//! | as it is | the secret without white space at its ends, with white space in between or without, as `fold` writes it |
//! | a line | each line of a secret of several, without white space at its ends; not the armour of a PEM file, which certificates have, too, and no rulers |
//! | base64 | either of these within any base64 (RFC 4648, both alphabets), at each of the three positions that it can have there, with line breaks or without |
//! | hexadecimal | either of these in digits of both cases, with white space between them or without, as `xxd -p` writes it |
//! | a dump | either of these in a [dump](super::dump) |
//! | escaped | either of these with any of its bytes as [escapes](super::escape) |

use std::collections::HashSet;
use std::fmt;

use zeroize::Zeroizing;

use super::escape::fold_plus;
use super::{SHORTEST, SecretValue};

/// In which way a secret is in something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// How much of it.
    pub part: Part,
    /// In which letters.
    pub encoding: Encoding,
}

/// How much of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but white space at its ends.
    Whole,
    /// The line of this number, from 1.
    Line(usize),
}

/// The letters of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Its own.
    Plain,
    /// Base64.
    Base64,
    /// Hexadecimal digits.
    Hexadecimal,
    /// With escapes of URLs, JSON, C, shells or HTML.
    Escaped,
    /// As `od`, `xxd` and `hexdump` write it.
    Dump,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Part::Line(number) = self.part {
            write!(f, "its line {number}, ")?;
        }
        f.write_str(match self.encoding {
            Encoding::Plain => "as it is",
            Encoding::Base64 => "in base64",
            Encoding::Hexadecimal => "in hexadecimal digits",
            Encoding::Escaped => "with escapes, as in a URL, JSON or HTML",
            Encoding::Dump => "in a dump of bytes",
        })
    }
}

/// What is searched for.
pub(super) struct Needle {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The secret, by its number.
    pub(super) secret: usize,
    pub(super) form: Form,
}

/// What is searched for of several secrets.
#[derive(Default)]
pub(super) struct Needles {
    /// In texts as they are. Where white space can be left out, it is among `squeezed`.
    pub(super) exact: Vec<Needle>,
    /// In texts without their white space.
    pub(super) squeezed: Vec<Needle>,
    /// In texts without their escapes, and with spaces in place of plus signs.
    pub(super) escaped: Vec<Needle>,
    /// In what dumps are of.
    pub(super) dumped: Vec<Needle>,
}

impl Needles {
    pub(super) fn of<'s>(secrets: impl Iterator<Item = &'s SecretValue>) -> Self {
        let mut needles = Self::default();
        for (number, secret) in secrets.enumerate() {
            for (part, bytes) in parts(secret.bytes()) {
                needles.add(number, part, bytes);
            }
        }
        needles.forget_repeated();
        needles
    }

    fn add(&mut self, secret: usize, part: Part, bytes: &[u8]) {
        let needle = |bytes: Vec<u8>, encoding| Needle {
            bytes: Zeroizing::new(bytes),
            secret,
            form: Form { part, encoding },
        };
        let squeezed: Vec<_> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if squeezed.len() < SHORTEST {
            self.exact.push(needle(bytes.to_vec(), Encoding::Plain));
        } else {
            self.squeezed.push(needle(squeezed, Encoding::Plain));
        }
        for digits in [UPPER, LOWER] {
            self.squeezed.push(needle(hexadecimal(bytes, digits), Encoding::Hexadecimal));
        }
        let mut folded = bytes.to_vec();
        fold_plus(&mut folded);
        self.escaped.push(needle(folded, Encoding::Escaped));
        self.dumped.push(needle(bytes.to_vec(), Encoding::Dump));
        for alphabet in [STANDARD, URL_SAFE] {
            let shifted = BASE64_SHIFTS.map(|shift| base64_within(bytes, shift, alphabet));
            self.squeezed.extend(shifted.into_iter().map(|bytes| needle(bytes, Encoding::Base64)));
        }
    }

    /// Of equal ones the first is kept, which is the simplest.
    fn forget_repeated(&mut self) {
        for needles in [&mut self.exact, &mut self.squeezed, &mut self.escaped, &mut self.dumped] {
            let mut known = HashSet::new();
            needles.retain(|needle| known.insert(blake3::hash(&needle.bytes)));
        }
    }
}

/// All of a secret, then its lines, as far as finding one tells something.
fn parts(secret: &[u8]) -> impl Iterator<Item = (Part, &[u8])> {
    let whole = secret.trim_ascii();
    let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let numbered = lines.enumerate().map(|(number, line)| (Part::Line(number + 1), line));
    std::iter::once((Part::Whole, whole)).chain(numbered.filter(|(_, line)| tells_something(line)))
}

fn tells_something(line: &[u8]) -> bool {
    const FEWEST_DIFFERENT: usize = 4;
    let different: HashSet<_> = line.iter().collect();
    line.len() >= SHORTEST && different.len() >= FEWEST_DIFFERENT && !line.starts_with(b"-----")
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// The bit of the bytes that the first letter begins with which tells of nothing else, by how many bytes stand in front of them
/// in a group of three: none, one, two.
const BASE64_SHIFTS: [usize; 3] = [0, 4, 2];

/// The letters that bytes have within longer base64, whatever stands around them.
fn base64_within(bytes: &[u8], shift: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let letter = |at: usize| {
        let (byte, bit) = (at / 8, at % 8);
        let next = bytes.get(byte + 1).copied().unwrap_or_default();
        let pair = u16::from(bytes[byte]) << 8 | u16::from(next);
        alphabet[usize::from(pair >> (10 - bit) & 63)]
    };
    (shift..).step_by(6).take_while(|at| at + 6 <= bytes.len() * 8).map(letter).collect()
}

fn hexadecimal(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| pair(*byte, digits)).collect()
}

fn pair(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::super::shown;
    use super::*;

    #[test]
    fn lines_count_if_they_tell_something() {
        let secret = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n  short\n==========\n\ttoken: abcdefgh \n-----END PRIVATE KEY-----\n";
        let found: Vec<_> = parts(secret).skip(1).map(|(part, line)| (part, line.to_vec())).collect();
        let expected = [(2, "MIIEvQIBADANBg"), (5, "token: abcdefgh")];
        assert_eq!(found, expected.map(|(number, line)| (Part::Line(number), line.as_bytes().to_vec())));
        // One line is all of it, and is told as that.
        let secret = shown("A", b"one line only\n").value.unwrap();
        let needles = Needles::of([&secret].into_iter());
        assert!(needles.squeezed.iter().all(|needle| needle.form.part == Part::Whole));
    }
}
