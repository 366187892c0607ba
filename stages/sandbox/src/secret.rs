//! Secrets: bytes that a step may read while it runs and that are to be nowhere afterwards.
//!
//! A [`SecretValue`] has no way out but the few that are named here: the socket to the stage's init, which puts it into
//! memory that is never written to a disk (a ramfs), a [keyed digest](SecretValue::keyed_digest) for keys,
//! and the patterns by which a [`Mask`] keeps it out of logs and a [`Scanner`] finds it in what a stage has made.

mod dump;
mod escape;
mod forms;
#[cfg(test)]
mod generated;
mod mask;
mod scan;
mod view;

use std::fmt;
use std::sync::Arc;

use ibuild_graph::Value;
use zeroize::Zeroizing;

pub use forms::{Encoding, Form, Part};
pub use mask::Mask;
pub(super) use mask::Masked;
pub use scan::{Found, ScanStream, Scanner};

/// The fewest bytes of a secret, without white space at its end: fewer are found everywhere by chance, and guessed.
pub const SHORTEST: usize = 8;

/// The most bytes of a secret: more than any key or token has.
pub const LONGEST: usize = 64 << 10;

/// Below `/run/ibuild`: the directory that secrets lie in, each under its name.
pub const SECRETS_DIR: &str = "secrets";

/// The bytes of a secret. They cannot be printed or serialised, and are overwritten with zeros when nobody needs them any more.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

/// Why bytes cannot be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitSecret {
    /// There is nothing in it but white space.
    #[error("it is empty")]
    Empty,
    /// It would be found everywhere.
    #[error("it has {0} bytes without the white space at its ends, and a secret has at least {SHORTEST}")]
    Short(usize),
    /// It is longer than any key.
    #[error("it has more than {} KiB", LONGEST >> 10)]
    Long,
}

impl SecretValue {
    /// Takes bytes for a secret.
    ///
    /// # Errors
    ///
    /// If there are too few or too many.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, UnfitSecret> {
        match bytes.trim_ascii().len() {
            0 => Err(UnfitSecret::Empty),
            length if length < SHORTEST => Err(UnfitSecret::Short(length)),
            _ if bytes.len() > LONGEST => Err(UnfitSecret::Long),
            _ => Ok(Self(Arc::new(bytes))),
        }
    }

    /// A digest that tells nothing of the secret to who does not have `key`.
    pub fn keyed_digest(&self, key: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(key, &self.0).as_bytes()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret that a payload sees at `/run/ibuild/secrets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSecret {
    /// Its name.
    pub name: String,
    /// What of it is in the key.
    pub keyed: KeyedBy,
    /// What is in the file. Without it there is no file.
    pub value: Option<SecretValue>,
}

/// What of a secret counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedBy {
    /// That it is there: with another value the payload makes the same.
    Name,
    /// Its value, by a digest with a key; `None` as long as it is not given.
    Value(Option<[u8; 32]>),
}

impl ShownSecret {
    /// What counts of it. Its value is in here by the digest, if at all.
    pub fn value(&self) -> Value {
        let Self { name: _, keyed, value: _ } = self;
        match keyed {
            KeyedBy::Name => "by name".into(),
            KeyedBy::Value(Some(digest)) => Value::Digest(*digest),
            KeyedBy::Value(None) => "not given".into(),
        }
    }
}

/// The secrets that are there, with their names.
fn given(secrets: &[ShownSecret]) -> impl Iterator<Item = (&str, &SecretValue)> {
    secrets.iter().filter_map(|secret| Some((secret.name.as_str(), secret.value.as_ref()?)))
}

#[cfg(test)]
pub(crate) fn shown(name: &str, value: &[u8]) -> ShownSecret {
    let value = SecretValue::new(Zeroizing::new(value.to_vec())).unwrap();
    ShownSecret { name: name.to_owned(), keyed: KeyedBy::Name, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_bounds() {
        let of = |bytes: &[u8]| SecretValue::new(Zeroizing::new(bytes.to_vec())).map(drop);
        assert_eq!(of(b""), Err(UnfitSecret::Empty));
        assert_eq!(of(b" \n\n        \t"), Err(UnfitSecret::Empty));
        assert_eq!(of(b"1234567\n\n"), Err(UnfitSecret::Short(7)));
        assert_eq!(of(b"12345678"), Ok(()));
        assert_eq!(of(&[b'x'; LONGEST]), Ok(()));
        assert_eq!(of(&[b'x'; LONGEST + 1]), Err(UnfitSecret::Long));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = shown("TOKEN", b"hunter2-hunter2");
        let printed = format!("{secret:?} {secret:#?} {:?}", secret.value());
        assert!(printed.contains("[secret]") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn a_digest_depends_on_key_and_value() {
        let digest = |value: &[u8], key| shown("A", value).value.unwrap().keyed_digest(&[key; 32]);
        assert_eq!(digest(b"12345678", 1), digest(b"12345678", 1));
        assert_ne!(digest(b"12345678", 1), digest(b"12345678", 2));
        assert_ne!(digest(b"12345678", 1), digest(b"12345678\n", 1));
    }
}
