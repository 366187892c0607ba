//! The forms in which a secret is recognised: as it is, line by line, and in the encodings that tools put it into on their own.
//!
//! | form | which texts have it |
//! |---|---|
//! | as it is | the secret without white space at its ends |
//! | a line | each line of a secret of several, without white space at its ends; not the armour of a PEM file, which certificates have, too, and no rulers |
//! | base64 | either of these within any base64 (RFC 4648, both alphabets), at each of the three positions that it can have there, with line breaks or without |
//! | hexadecimal | either of these in digits of both cases, with white space between them or without, as `xxd -p` and `od` write it |
//! | percent | either of these in a URL, if it looks different there |

use std::collections::HashSet;
use std::fmt;

use zeroize::Zeroizing;

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
    /// As in a URL.
    Percent,
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
            Encoding::Percent => "in the encoding of URLs",
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
    /// In texts as they are.
    pub(super) exact: Vec<Needle>,
    /// In texts without their white space.
    pub(super) squeezed: Vec<Needle>,
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
        self.exact.push(needle(bytes.to_vec(), Encoding::Plain));
        for digits in [UPPER, LOWER] {
            self.exact.push(needle(percent(bytes, digits), Encoding::Percent));
            self.squeezed.push(needle(hexadecimal(bytes, digits), Encoding::Hexadecimal));
        }
        for alphabet in [STANDARD, URL_SAFE] {
            let shifted = BASE64_SHIFTS.map(|shift| base64_within(bytes, shift, alphabet));
            self.squeezed.extend(shifted.into_iter().map(|bytes| needle(bytes, Encoding::Base64)));
        }
    }

    /// Of equal ones the first is kept, which is the simplest.
    fn forget_repeated(&mut self) {
        for needles in [&mut self.exact, &mut self.squeezed] {
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

/// With everything escaped that is not unreserved (RFC 3986).
fn percent(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => text.push(*byte),
            byte => {
                text.push(b'%');
                text.extend(pair(*byte, digits));
            }
        }
    }
    text
}

/// Bytes without white space, and where each of them was.
pub(super) fn squeeze(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let kept = bytes.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    kept.map(|(at, byte)| (*byte, at)).unzip()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::shown;
    use super::*;

    fn has(text: &[u8], value: &[u8], encoding: Encoding) -> bool {
        let secret = shown("A", value).value.unwrap();
        let needles = Needles::of([&secret].into_iter());
        let mut all = needles.exact.iter().chain(&needles.squeezed);
        let (squeezed, _) = squeeze(text);
        let is_in = |text: &[u8], needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        all.any(|needle| {
            needle.form.encoding == encoding
                && (is_in(text, &needle.bytes) || is_in(&squeezed, &needle.bytes))
        })
    }

    /// What a tool of this machine writes of its input.
    fn tool(line: &str, input: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut command = Command::new("sh");
        let child = command.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    /// Against an encoder that is not ours, at every position, with and without line breaks.
    #[test]
    fn what_tools_write_is_recognised() {
        let mut random = fastrand::Rng::with_seed(24);
        for length in [8, 9, 10, 33, 57, 200] {
            let value: Vec<u8> = (0..length).map(|_| random.u8(33..127)).collect();
            for before in 0..4 {
                let text = [&b"abc"[..before.min(3)], &vec![b'.'; before], &value, b"tail"].concat();
                assert!(has(&tool("base64", &text), &value, Encoding::Base64), "{length} {before}");
                let url_safe = tool("base64 -w0 | tr +/ -_", &text);
                assert!(has(&url_safe, &value, Encoding::Base64), "{length} {before}");
                for line in ["od -An -v -tx1", "od -An -v -tx1 | tr a-f A-F | tr -d '\\n '"] {
                    assert!(has(&tool(line, &text), &value, Encoding::Hexadecimal), "{length} {line}");
                }
            }
        }
    }

    #[test]
    fn what_urls_have_is_recognised() {
        let value = b"p@ss w/rd+100%";
        assert!(has(b"https://me:p%40ss%20w%2Frd%2B100%25@host/", value, Encoding::Percent));
        assert!(has(b"https://me:p%40ss%20w%2frd%2b100%25@host/", value, Encoding::Percent));
    }

    #[test]
    fn lines_count_if_they_tell_something() {
        let secret = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n  short\n==========\n\ttoken: abcdefgh \n-----END PRIVATE KEY-----\n";
        let found: Vec<_> = parts(secret).skip(1).map(|(part, line)| (part, line.to_vec())).collect();
        let expected = [(2, "MIIEvQIBADANBg"), (5, "token: abcdefgh")];
        assert_eq!(found, expected.map(|(number, line)| (Part::Line(number), line.as_bytes().to_vec())));
        // One line is all of it, and is told as that.
        let secret = shown("A", b"one line only\n").value.unwrap();
        let needles = Needles::of([&secret].into_iter());
        assert!(needles.exact.iter().all(|needle| needle.form.part == Part::Whole));
    }
}
