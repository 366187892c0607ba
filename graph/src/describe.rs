//! What an action is: named values, the only thing that its key is made of.

use std::collections::BTreeMap;

use ibuild_cache::{ActionKey, DecodeError, Decoder, Encoder};

use crate::Value;

/// The first item of every key. Raised when the meaning of descriptions changes as a whole, which renames every
/// action.
pub const ACTION_DOMAIN: &str = "ibuild action v1";

/// Everything that can change the result of a stage. Nothing of the host belongs in it: no path, time, user or
/// number of cores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    fields: BTreeMap<String, Value>,
}

impl Description {
    /// Starts with the kind of the stage and the version of the code that makes it: a stage that works differently
    /// is another stage.
    pub fn new(kind: &str, implementation: i64) -> Self {
        let mut description = Self::default();
        description.set("kind", kind);
        description.set("implementation", implementation);
        description
    }

    /// Adds a field.
    ///
    /// # Panics
    ///
    /// If there is one of that name, which would be forgotten without a trace.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let before = self.fields.insert(name.to_owned(), value.into());
        assert!(before.is_none(), "the field `{name}` is described twice");
        self
    }

    /// The fields, in the order of their names.
    pub fn fields(&self) -> &BTreeMap<String, Value> {
        &self.fields
    }

    /// The digests of all trees in it.
    pub fn trees(&self) -> Vec<[u8; 32]> {
        let (mut open, mut found): (Vec<_>, _) = (self.fields.values().collect(), Vec::new());
        while let Some(value) = open.pop() {
            match value {
                Value::Tree(digest) => found.push(*digest),
                Value::List(values) => open.extend(values),
                Value::Map(values) => open.extend(values.values()),
                _ => {}
            }
        }
        found
    }

    fn encoder(&self) -> Encoder {
        let mut out = Encoder::new(ACTION_DOMAIN);
        out.sequence(self.fields.len());
        for (name, value) in &self.fields {
            out.text(name);
            value.encode(&mut out);
        }
        out
    }

    /// The name of the action.
    pub fn key(&self) -> ActionKey {
        ActionKey::from_bytes(self.encoder().hash())
    }

    /// The bytes that the key is the digest of, to be kept for later comparison.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encoder().finish()
    }

    /// The inverse of [`Description::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes, ACTION_DOMAIN)?;
        let mut fields = BTreeMap::new();
        for _ in 0..from.sequence()? {
            fields.insert(from.text()?.to_owned(), Value::decode(&mut from)?);
        }
        if from.is_empty() { Ok(Self { fields }) } else { Err(DecodeError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Description {
        let mut description = Description::new("run", 1);
        description.set("command", "echo hello").set("env", Value::map([("LANG", "C.UTF-8".into())]));
        description
    }

    /// A changed value here makes everybody build everything again.
    #[test]
    fn pinned_vector() {
        assert_eq!(sample().key().hex(), "1f069424d54a1d7166ffd4cae78678447bd01fa38e2ed52f2db255fadf498861");
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let bytes = sample().to_bytes();
        assert_eq!(Description::from_bytes(&bytes), Ok(sample()));
        assert!(Description::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn every_field_counts() {
        let mut other = sample();
        other.set("timeout", 1);
        assert_ne!(other.key(), sample().key());
        assert_ne!(Description::new("run", 2).key(), Description::new("run", 1).key());
    }

    #[test]
    #[should_panic(expected = "described twice")]
    fn a_field_cannot_be_overwritten() {
        sample().set("command", "other");
    }
}
