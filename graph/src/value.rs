//! Data that can be hashed, kept and compared: what an action's description is made of.

use std::collections::BTreeMap;
use std::fmt;

use ibuild_cache::{DecodeError, Decoder, Encoder, Item};
use serde::{Deserialize, Serialize};

/// A piece of a description.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A number.
    Number(i64),
    /// Text, shown as it is.
    Text(String),
    /// Bytes that may not be text, for example a path.
    Bytes(Vec<u8>),
    /// A digest of something that is kept elsewhere.
    Digest([u8; 32]),
    /// A directory of files: the digest of the whole tree, whose listings are kept elsewhere.
    Tree([u8; 32]),
    /// Values whose order matters.
    List(Vec<Value>),
    /// Values by name, in the order of the names.
    Map(BTreeMap<Vec<u8>, Value>),
}

/// In front of a sequence. The numbers are part of every key: never reuse or change one.
const LIST: i64 = 1;
const MAP: i64 = 2;
const TREE: i64 = 3;

impl Value {
    /// A map from pairs.
    pub fn map<K: Into<Vec<u8>>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A list of texts.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    /// Absent or present, told apart from an empty value.
    pub fn option(value: Option<Value>) -> Self {
        Self::List(value.into_iter().collect())
    }

    /// Writes the canonical encoding.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Number(number) => out.number(*number),
            Self::Text(text) => out.text(text),
            Self::Bytes(bytes) => out.bytes(bytes),
            Self::Digest(digest) => out.digest(digest),
            Self::Tree(digest) => {
                out.sequence(1);
                out.number(TREE);
                out.digest(digest);
            }
            Self::List(values) => {
                out.sequence(values.len());
                out.number(LIST);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Map(values) => {
                out.sequence(values.len());
                out.number(MAP);
                for (name, value) in values {
                    out.bytes(name);
                    value.encode(out);
                }
            }
        }
    }

    /// The inverse of [`Value::encode`].
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match from.item()? {
            Item::Number(number) => Self::Number(number),
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Item::Digest(digest) => Self::Digest(*digest),
            Item::Sequence(length) => match from.number()? {
                LIST => Self::List((0..length).map(|_| Self::decode(from)).collect::<Result<_, _>>()?),
                MAP => Self::Map((0..length).map(|_| Self::pair(from)).collect::<Result<_, _>>()?),
                TREE if length == 1 => Self::Tree(*from.digest()?),
                _ => return Err(DecodeError),
            },
        })
    }

    fn pair(from: &mut Decoder<'_>) -> Result<(Vec<u8>, Self), DecodeError> {
        Ok((from.bytes()?.to_vec(), Self::decode(from)?))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Text as people wrote it, but for what would break the line or the terminal. Quotes and backslashes are what shell text is
/// made of, so they stay.
pub fn on_one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// For people: short, on one line; with `#` digests are shown in full.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{}`", on_one_line(text)),
            Self::Bytes(bytes) => write!(f, "`{}`", on_one_line(&String::from_utf8_lossy(bytes))),
            Self::Digest(digest) | Self::Tree(digest) => {
                let shown = if f.alternate() { &digest[..] } else { &digest[..4] };
                shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::List(values) if values.len() == 1 => fmt::Display::fmt(&values[0], f),
            Self::List(values) => {
                f.write_str("[")?;
                for (n, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if n > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(values) => {
                f.write_str("{")?;
                for (n, (name, value)) in values.iter().enumerate() {
                    let comma = if n > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {value}", on_one_line(&String::from_utf8_lossy(name)))?;
                }
                f.write_str("}")
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Encoder::new("test");
        value.encode(&mut out);
        out.finish()
    }

    fn samples() -> Vec<Value> {
        let empty_map = Value::Map(BTreeMap::new());
        vec![
            Value::Number(0),
            Value::from(""),
            Value::Bytes(vec![]),
            Value::Digest([0; 32]),
            Value::Tree([0; 32]),
            Value::List(vec![Value::Digest([0; 32])]),
            Value::List(vec![]),
            empty_map.clone(),
            Value::texts(["ab", "c"]),
            Value::texts(["a", "bc"]),
            Value::List(vec![Value::texts(["a"]), Value::texts(["b"])]),
            Value::List(vec![Value::texts(["a", "b"])]),
            Value::map([("a", Value::Number(1))]),
            Value::map([("a", empty_map)]),
            Value::option(None),
            Value::option(Some(Value::List(vec![]))),
        ]
    }

    #[test]
    fn different_values_have_different_encodings() {
        let samples = samples();
        for (n, a) in samples.iter().enumerate() {
            for b in &samples[n + 1..] {
                assert_eq!(bytes(a) == bytes(b), a == b, "{a} and {b}");
            }
        }
    }

    #[test]
    fn shell_text_is_shown_as_it_was_written() {
        let command = r#"printf 'a\n' | sed "s/\t/ /" > /x"#;
        assert_eq!(Value::from(command).to_string(), format!("`{command}`"));
        assert_eq!(Value::from("a\n\x1b[31mb").to_string(), r"`a\n\u{1b}[31mb`");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for value in samples() {
            let bytes = bytes(&value);
            let mut from = Decoder::new(&bytes, "test").unwrap();
            assert_eq!(Value::decode(&mut from), Ok(value));
            assert!(from.is_empty());
        }
    }
}
