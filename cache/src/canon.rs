//! The canonical encoding: the only bytes that are ever hashed into a name.
//!
//! Every item is a tag byte, the length of its payload as eight little-endian bytes, and the payload. Nothing
//! can be read two ways: neighbours cannot flow into each other, and an absent item is an item. The format is
//! ours alone and pinned by test vectors, so no library's idea of serialisation can rename what is cached.

use std::fmt;

/// What an item is. The numbers are part of every digest: never reuse or change one.
const TAG_NUMBER: u8 = 1;
const TAG_TEXT: u8 = 2;
const TAG_BYTES: u8 = 3;
const TAG_DIGEST: u8 = 4;
const TAG_SEQUENCE: u8 = 5;

/// Writes items one after the other.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Starts with the domain tag: what is being named, and the version of how. Two kinds of things never
    /// share a digest because their first item differs.
    pub fn new(domain: &str) -> Self {
        let mut encoder = Self::default();
        encoder.text(domain);
        encoder
    }

    fn item(&mut self, tag: u8, payload: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(payload);
    }

    /// A signed number, eight little-endian bytes.
    pub fn number(&mut self, number: i64) {
        self.item(TAG_NUMBER, &number.to_le_bytes());
    }

    /// UTF-8 text.
    pub fn text(&mut self, text: &str) {
        self.item(TAG_TEXT, text.as_bytes());
    }

    /// Bytes without a meaning of their own, for example a path.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.item(TAG_BYTES, bytes);
    }

    /// Any 32-byte digest.
    pub fn digest(&mut self, digest: &[u8; 32]) {
        self.item(TAG_DIGEST, digest);
    }

    /// The head of a sequence: `length` items have to follow.
    pub fn sequence(&mut self, length: usize) {
        self.item(TAG_SEQUENCE, &(length as u64).to_le_bytes());
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The BLAKE3 digest of what was written.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

/// Bytes that are not a canonical encoding, or not of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a canonical encoding")
    }
}

impl std::error::Error for DecodeError {}

/// An item read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// See [`Encoder::number`].
    Number(i64),
    /// See [`Encoder::text`].
    Text(&'a str),
    /// See [`Encoder::bytes`].
    Bytes(&'a [u8]),
    /// See [`Encoder::digest`].
    Digest(&'a [u8; 32]),
    /// See [`Encoder::sequence`]. The items follow.
    Sequence(usize),
}

/// Reads items one after the other.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads what an [`Encoder`] wrote for the same `domain`.
    pub fn new(bytes: &'a [u8], domain: &str) -> Result<Self, DecodeError> {
        let mut decoder = Self { rest: bytes };
        match decoder.item()? {
            Item::Text(found) if found == domain => Ok(decoder),
            _ => Err(DecodeError),
        }
    }

    /// Whether every item was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next item.
    pub fn item(&mut self) -> Result<Item<'a>, DecodeError> {
        let (head, rest) = self.rest.split_at_checked(9).ok_or(DecodeError)?;
        let length = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
        let length = usize::try_from(length).map_err(|_| DecodeError)?;
        let (payload, rest) = rest.split_at_checked(length).ok_or(DecodeError)?;
        self.rest = rest;
        let eight = || payload.try_into().map_err(|_| DecodeError);
        match head[0] {
            TAG_NUMBER => Ok(Item::Number(i64::from_le_bytes(eight()?))),
            TAG_TEXT => std::str::from_utf8(payload).map(Item::Text).map_err(|_| DecodeError),
            TAG_BYTES => Ok(Item::Bytes(payload)),
            TAG_DIGEST => payload.try_into().map(Item::Digest).map_err(|_| DecodeError),
            TAG_SEQUENCE => self.sequence_head(u64::from_le_bytes(eight()?)),
            _ => Err(DecodeError),
        }
    }

    /// A length is believed only if that many items can follow, so that a damaged one cannot ask for all memory.
    fn sequence_head(&self, length: u64) -> Result<Item<'a>, DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError)?;
        if length > self.rest.len() / 9 { Err(DecodeError) } else { Ok(Item::Sequence(length)) }
    }

    /// The next item, which has to be a number.
    pub fn number(&mut self) -> Result<i64, DecodeError> {
        if let Item::Number(number) = self.item()? { Ok(number) } else { Err(DecodeError) }
    }

    /// The next item, which has to be text.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        if let Item::Text(text) = self.item()? { Ok(text) } else { Err(DecodeError) }
    }

    /// The next item, which has to be bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        if let Item::Bytes(bytes) = self.item()? { Ok(bytes) } else { Err(DecodeError) }
    }

    /// The next item, which has to be a digest.
    pub fn digest(&mut self) -> Result<&'a [u8; 32], DecodeError> {
        if let Item::Digest(digest) = self.item()? { Ok(digest) } else { Err(DecodeError) }
    }

    /// The next item, which has to be the head of a sequence.
    pub fn sequence(&mut self) -> Result<usize, DecodeError> {
        if let Item::Sequence(length) = self.item()? { Ok(length) } else { Err(DecodeError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(texts: &[&str]) -> [u8; 32] {
        let mut encoder = Encoder::new("test");
        texts.iter().for_each(|text| encoder.text(text));
        encoder.hash()
    }

    #[test]
    fn boundaries_count() {
        assert_ne!(encode(&["ab", "c"]), encode(&["a", "bc"]));
        assert_ne!(encode(&["a"]), encode(&["a", ""]));
    }

    #[test]
    fn kinds_and_domains_count() {
        let with = |domain: &str, write: fn(&mut Encoder)| {
            let mut encoder = Encoder::new(domain);
            write(&mut encoder);
            encoder.hash()
        };
        assert_ne!(with("a", |e| e.text("x")), with("a", |e| e.bytes(b"x")));
        assert_ne!(with("a", |e| e.text("x")), with("b", |e| e.text("x")));
    }

    /// A changed value here renames everything that anybody has in a cache.
    #[test]
    fn pinned_vector() {
        let mut encoder = Encoder::new("ibuild test v1");
        encoder.number(-2);
        encoder.text("text");
        encoder.bytes(&[0, 255]);
        encoder.digest(&[7; 32]);
        encoder.sequence(0);
        assert_eq!(
            blake3::Hash::from_bytes(encoder.hash()).to_hex().as_str(),
            "0ca38e3500c5380c2d1f6d44d506eccad359f74ab06ed93f3f822eddd2316a15"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let mut encoder = Encoder::new("d");
        encoder.sequence(2);
        encoder.number(i64::MIN);
        encoder.bytes(b"\xff");
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes, "d").unwrap();
        assert_eq!(decoder.sequence(), Ok(2));
        assert_eq!(decoder.number(), Ok(i64::MIN));
        assert_eq!(decoder.bytes(), Ok(&b"\xff"[..]));
        assert!(decoder.is_empty());
        assert!(Decoder::new(&bytes, "other").is_err());
    }

    #[test]
    fn damage_is_an_error() {
        let mut encoder = Encoder::new("d");
        encoder.sequence(1);
        encoder.text("x");
        let bytes = encoder.finish();
        for length in 0..bytes.len() {
            let read = Decoder::new(&bytes[..length], "d").and_then(|mut d| {
                d.sequence()?;
                d.text()
            });
            assert_eq!(read, Err(DecodeError), "cut to {length}");
        }
    }
}
