//! Values of the index: versioned bincode behind a magic byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

use bincode::Options;

/// Tells a record from anything else that may stand in its place.
const MAGIC: u8 = 0xb1;

/// No value comes near; a damaged length must not ask for all memory.
const LIMIT: u64 = 64 << 20;

/// A value that can be kept in the index.
///
/// Reading never fails: a value of another version, or a damaged one, is a miss.
pub trait Record: Serialize + DeserializeOwned {
    /// Raised whenever the fields change in any way, because bincode does not describe itself.
    const SCHEMA: u16;

    /// The bytes to keep.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![MAGIC];
        bytes.extend_from_slice(&Self::SCHEMA.to_le_bytes());
        options().serialize_into(&mut bytes, self).expect("a record can be written to memory");
        bytes
    }

    /// The value, if these bytes are one of this version.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[MAGIC])?.strip_prefix(&Self::SCHEMA.to_le_bytes())?;
        options().deserialize(rest).ok()
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes().with_limit(LIMIT)
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

    #[test]
    fn another_version_or_damage_is_a_miss() {
        let old = Old { name: "x".to_owned() };
        let mut bytes = old.to_bytes();
        assert_eq!(bytes, b"\xb1\x01\x00\x01\0\0\0\0\0\0\0x");
        assert_eq!(New::from_bytes(&bytes), None);
        assert_eq!(Old::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Old::from_bytes(&[]), None);
        bytes.push(0);
        assert_eq!(Old::from_bytes(&bytes), None);
        bytes.pop();
        assert_eq!(Old::from_bytes(&bytes), Some(old));
    }
}
