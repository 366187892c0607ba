//! The keys of an archive, out of a file of the project: armoured or not, they become what gpgv and apt read.
//!
//! The keys are read together with the recipe and are part of it, so no second file can be missing or different when a
//! stage runs.

use ibuild_cache::{Digest, Sha256};

use crate::openpgp::{dearmoured, packet};

/// OpenPGP public keys in their binary form. Equal keys are equal however their file was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring(Vec<u8>);

/// Why a file is no keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no key at its beginning, or something else behind.
    #[error("it is not an OpenPGP public key")]
    NotKeys,
    /// It begins as one and cannot be read to the end.
    #[error("it is a damaged OpenPGP public key")]
    Damaged,
    /// There are keys in it that nobody but their owner may have.
    #[error("it has a secret key in it")]
    Secret,
    /// The file that GnuPG keeps its own keys in.
    #[error("it is a database of GnuPG, which apt does not read")]
    Keybox,
}

impl KeyringError {
    /// What to do about each of them.
    pub const HINT: &'static str = "take the file that the archive's makers publish, or write one with `gpg --export --armor FINGERPRINT`";
}

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const SECRET: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

impl Keyring {
    /// Reads a file of public keys (RFC 9580, sections 4.2 and 6).
    pub fn parse(file: &[u8]) -> Result<Self, KeyringError> {
        if file.get(8..12) == Some(b"KBXf") {
            return Err(KeyringError::Keybox);
        }
        let text = std::str::from_utf8(file).ok();
        let bytes = match text {
            Some(text) if text.contains(SECRET) => return Err(KeyringError::Secret),
            Some(text) if text.contains(BEGIN) => {
                dearmoured(text, BEGIN, END).ok_or(KeyringError::Damaged)?
            }
            _ => file.to_owned(),
        };
        check_packets(&bytes)?;
        Ok(Self(bytes))
    }

    /// Names the keys.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.0)
    }

    /// The keys, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Kinds of packets: a signature, keys with their secret, keys, what is said about trust, who they are of, and padding.
const SECRET_KEYS: [u8; 2] = [5, 7];
const PUBLIC_KEY: u8 = 6;
const OF_PUBLIC_KEYS: [u8; 7] = [2, PUBLIC_KEY, 12, 13, 14, 17, 21];

/// Whether there are public keys and nothing else, from the first byte to the last.
fn check_packets(bytes: &[u8]) -> Result<(), KeyringError> {
    let mut rest = bytes;
    let mut is_first = true;
    while !rest.is_empty() {
        let (kind, length, header) = packet(rest).ok_or(broken(is_first))?;
        if SECRET_KEYS.contains(&kind) {
            return Err(KeyringError::Secret);
        }
        if !OF_PUBLIC_KEYS.contains(&kind) || (is_first && kind != PUBLIC_KEY) {
            return Err(KeyringError::NotKeys);
        }
        rest = header.checked_add(length).and_then(|end| rest.get(end..)).ok_or(broken(is_first))?;
        is_first = false;
    }
    if is_first { Err(KeyringError::NotKeys) } else { Ok(()) }
}

/// Text happens to look like a packet at its beginning, hardly behind one.
fn broken(is_first: bool) -> KeyringError {
    if is_first { KeyringError::NotKeys } else { KeyringError::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of three bytes, who it is of, and a signature, each with another form of length.
    const KEYS: &[u8] = &[0x98, 3, 4, 5, 6, 0xcd, 2, b'm', b'e', 0x89, 0, 1, 7];

    fn armoured(data: &str) -> String {
        format!("Somebody's key:\n\n{BEGIN}\nComment: x\n\n{data}\n=abcd\n{END}\n")
    }

    #[test]
    fn both_forms_are_the_same_keys() {
        let binary = Keyring::parse(KEYS).unwrap();
        assert_eq!(binary.bytes(), KEYS);
        let text = armoured("mAMEBQbN\nAm1liQABBw==");
        assert_eq!(Keyring::parse(text.as_bytes()), Ok(binary.clone()));
        assert_eq!(Keyring::parse(text.replace("==", "").as_bytes()), Ok(binary.clone()));
        assert_eq!(Keyring::parse(text.replace("Comment: x\n\n", "").as_bytes()), Ok(binary));
        assert_eq!(Keyring::parse((text.clone() + &text).as_bytes()).unwrap().bytes(), [KEYS, KEYS].concat());
    }

    #[test]
    fn what_is_no_keyring() {
        use KeyringError::{Damaged, Keybox, NotKeys, Secret};
        let check = |file: &[u8], why| assert_eq!(Keyring::parse(file), Err(why), "{file:?}");
        check(b"", NotKeys);
        check(b"deb http://x y z\n", NotKeys);
        check(b"<!DOCTYPE html>", NotKeys);
        check(&[0x89, 0, 1, 7], NotKeys);
        check(&[0x98, 30, 4], NotKeys);
        check(&KEYS[..KEYS.len() - 1], Damaged);
        check(&[KEYS, b"\n"].concat(), Damaged);
        check(&[KEYS, &[0xcb, 0]].concat(), NotKeys);
        check(&[KEYS, &[0x9c, 1, 1]].concat(), Secret);
        check(SECRET.as_bytes(), Secret);
        check(b"\0\0\0\x20\x01\x01\0\x02KBXf", Keybox);
        check(armoured("mAME-QbN").as_bytes(), Damaged);
        check(BEGIN.as_bytes(), NotKeys);
    }
}
