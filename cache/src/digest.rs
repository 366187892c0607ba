//! A name for every kind of digest, so that the compiler knows a tree from an action.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 32-byte name computed from bytes. Implemented by the types that may name files of a store.
pub trait Digest: Copy + Ord + fmt::Display + fmt::Debug + Send + Sync + 'static {
    /// The running computation that ends in this kind of digest.
    type Hasher: Default + Send;

    /// Feeds `bytes` to a running computation.
    fn update(hasher: &mut Self::Hasher, bytes: &[u8]);

    /// Ends a computation. The only way to a digest of content.
    fn finish(hasher: Self::Hasher) -> Self;

    /// The digest of bytes that are in memory.
    fn of(bytes: &[u8]) -> Self {
        let mut hasher = Self::Hasher::default();
        Self::update(&mut hasher, bytes);
        Self::finish(hasher)
    }

    /// Lower-case hexadecimal, 64 characters: the name of a file.
    fn to_hex(&self) -> String;

    /// The inverse of [`Digest::to_hex`].
    fn from_hex(hex: &str) -> Result<Self, ParseDigestError>;
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: expected 64 hexadecimal digits")]
pub struct ParseDigestError {
    text: String,
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseDigestError> {
    let error = || ParseDigestError { text: text.to_owned() };
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(error());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16).filter(|_| !d.is_ascii_uppercase());
        let (high, low) = (digit(pair[0]).ok_or_else(error)?, digit(pair[1]).ok_or_else(error)?);
        *byte = (high * 16 + low) as u8;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Reads the bytes of a digest. Records have digests by the thousand: as text they would be twice as long, and slow.
struct RawDigest;

impl de::Visitor<'_> for RawDigest {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the 32 bytes of a digest")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The raw bytes, for encoding into a key or a value.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// A digest read back from where its bytes were kept.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Lower-case hexadecimal, 64 characters.
            pub fn hex(&self) -> String {
                write_hex(&self.0)
            }

            /// The first digits, as people read them: `b3:5f1c9a02`.
            pub fn short(&self) -> String {
                format!("{}{}", $prefix, &write_hex(&self.0)[..8])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, write_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &write_hex(&self.0)[..12])
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text.strip_prefix($prefix).unwrap_or(text)).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                match out.is_human_readable() {
                    true => out.collect_str(self),
                    false => out.serialize_bytes(&self.0),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                match from.is_human_readable() {
                    true => String::deserialize(from)?.parse().map_err(D::Error::custom),
                    false => from.deserialize_bytes(RawDigest).map(Self),
                }
            }
        }
    };
}

digest_newtype!(
    /// Names a blob: the BLAKE3 digest of its bytes.
    BlobId, "b3:"
);
digest_newtype!(
    /// Names a layer: the BLAKE3 digest of its *uncompressed* canonical tarball, so that another level
    /// or version of the compressor does not rename it.
    LayerId, "b3:"
);
digest_newtype!(
    /// Names a tree, a whole file system, by the Merkle digest of its root directory.
    TreeId, "b3:"
);
digest_newtype!(
    /// Names an action: a stage with all of its inputs resolved.
    ActionKey, "b3:"
);
digest_newtype!(
    /// Names bytes as Debian's indices do.
    Sha256, "sha256:"
);

/// Implements [`Digest`] for the kinds that name plain bytes by BLAKE3.
macro_rules! blake3_digest {
    ($name:ident) => {
        impl Digest for $name {
            type Hasher = blake3::Hasher;

            fn update(hasher: &mut Self::Hasher, bytes: &[u8]) {
                hasher.update(bytes);
            }

            fn finish(hasher: Self::Hasher) -> Self {
                Self(*hasher.finalize().as_bytes())
            }

            fn to_hex(&self) -> String {
                self.hex()
            }

            fn from_hex(hex: &str) -> Result<Self, ParseDigestError> {
                parse_hex(hex).map(Self)
            }
        }
    };
}

blake3_digest!(BlobId);
blake3_digest!(LayerId);

impl Digest for Sha256 {
    type Hasher = sha2::Sha256;

    fn update(hasher: &mut Self::Hasher, bytes: &[u8]) {
        sha2::Digest::update(hasher, bytes);
    }

    fn finish(hasher: Self::Hasher) -> Self {
        Self(sha2::Digest::finalize(hasher).into())
    }

    fn to_hex(&self) -> String {
        self.hex()
    }

    fn from_hex(hex: &str) -> Result<Self, ParseDigestError> {
        parse_hex(hex).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use bincode::Options;

    use super::*;

    #[test]
    fn known_values() {
        let sha: Sha256 = Digest::of(b"");
        assert_eq!(sha.to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let blob: BlobId = Digest::of(b"");
        assert_eq!(blob.to_hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn text_and_back() {
        let blob: BlobId = Digest::of(b"ibuild");
        assert_eq!(blob.to_string().parse::<BlobId>(), Ok(blob));
        assert_eq!(BlobId::from_hex(&blob.to_hex()), Ok(blob));
        assert_eq!(blob.short().len(), "b3:".len() + 8);
    }

    #[test]
    fn text_for_people_and_bytes_for_records() {
        let options = bincode::DefaultOptions::new;
        let blob: BlobId = Digest::of(b"ibuild");
        let bytes = options().serialize(&blob).unwrap();
        assert_eq!(bytes[1..], blob.as_bytes()[..]);
        assert_eq!(options().deserialize::<BlobId>(&bytes).unwrap(), blob);
        let short = options().serialize("31 bytes are not what a digest has").unwrap();
        assert!(options().deserialize::<BlobId>(&short).is_err());
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in ["", "b3:", "b3:12", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65)] {
            assert!(text.parse::<BlobId>().is_err(), "{text:?}");
        }
    }
}
