//! Values of the index: versioned bincode behind a magic byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

use bincode::Options;

/// Tells a record from anything else that may stand in its place. Raised when what all records are made of is written in
/// another way.
const MAGIC: u8 = 0xb2;

/// The bytes that a value may have. One that is longer is not read back: a damaged length must not ask for all memory.
pub const MOST_RECORD: u64 = 64 << 20;

/// A value that can be kept in the index.
///
/// Reading never fails: a value of another version, or a damaged one, is a miss.
pub trait Record: Serialize + DeserializeOwned {
    /// Raised whenever the fields change in any way, because bincode does not describe itself.
    const SCHEMA: u16;

    /// The bytes to keep. A value of more than [`MOST_RECORD`] of them can be written, and will not be read back.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![MAGIC];
        bytes.extend_from_slice(&Self::SCHEMA.to_le_bytes());
        encoding().serialize_into(&mut bytes, self).expect("a record can be written to memory");
        bytes
    }

    /// The value, if these bytes are one of this version, or of an earlier one that is still understood.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > MOST_RECORD {
            return None;
        }
        let record = bytes.strip_prefix(&[MAGIC])?;
        match record.strip_prefix(&Self::SCHEMA.to_le_bytes()) {
            Some(fields) => encoding().with_limit(MOST_RECORD).deserialize(fields).ok(),
            None => Self::from_earlier(bytes),
        }
    }

    /// The value, if these bytes are one of an earlier version that says the same.
    fn from_earlier(_bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// For fields of many bytes, with `#[serde(with = "...")]`: as a whole instead of byte by byte.
pub mod whole_bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Writes the bytes after their number.
    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

/// Writing has no limit: to know whether it is kept, everything would be gone through twice.
fn encoding() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Old {
        name: String,
    }

    impl Record for Old {
        const SCHEMA: u16 = 1;
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct New {
        name: String,
    }

    impl Record for New {
        const SCHEMA: u16 = 2;
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Newer {
        name: String,
        size: u64,
    }

    impl Record for Newer {
        const SCHEMA: u16 = 3;

        fn from_earlier(bytes: &[u8]) -> Option<Self> {
            let Old { name } = Old::from_bytes(bytes)?;
            Some(Self { name, size: 0 })
        }
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Long(#[serde(with = "whole_bytes")] Vec<u8>);

    impl Record for Long {
        const SCHEMA: u16 = 1;
    }

    #[test]
    fn what_is_too_long_is_written_and_not_read() {
        let long = Long(vec![7; MOST_RECORD as usize]).to_bytes();
        assert!(long.len() as u64 > MOST_RECORD);
        assert!(Long::from_bytes(&long).is_none());
        let short = Long(vec![7; 1000]);
        assert_eq!(Long::from_bytes(&short.to_bytes()), Some(short));
    }

    #[test]
    fn an_earlier_version_may_be_understood() {
        let old = Old { name: "x".to_owned() }.to_bytes();
        let newer = Newer { name: "x".to_owned(), size: 0 };
        assert_eq!(Newer::from_bytes(&old).as_ref(), Some(&newer));
        assert_eq!(Newer::from_bytes(&newer.to_bytes()).as_ref(), Some(&newer));
        assert_eq!(Newer::from_bytes(&New { name: "x".to_owned() }.to_bytes()), None);
    }

    #[test]
    fn another_version_or_damage_is_a_miss() {
        let old = Old { name: "x".to_owned() };
        let mut bytes = old.to_bytes();
        assert_eq!(bytes, b"\xb2\x01\x00\x01\0\0\0\0\0\0\0x");
        assert_eq!(New::from_bytes(&bytes), None);
        assert_eq!(Old::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Old::from_bytes(&[]), None);
        bytes.push(0);
        assert_eq!(Old::from_bytes(&bytes), None);
        bytes.pop();
        assert_eq!(Old::from_bytes(&bytes), Some(old));
    }
}
