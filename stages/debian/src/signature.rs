//! Detached signatures, armoured or not.
//!
//! A signed *message* carries a text of its own, and that is what its signature covers. Nothing but signatures gets as far as
//! gpgv, so none of its versions has to notice.

use crate::openpgp::{dearmoured, packet};

/// Detached OpenPGP signatures in their binary form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedSignature(Vec<u8>);

/// Why a file is no detached signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFormError {
    /// It is something else, or damaged.
    #[error("it is not a detached OpenPGP signature")]
    NotDetached,
    /// It has the signed text in it.
    #[error("it is a signed message, and no signature of another file")]
    Message,
}

const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";
const MESSAGES: [&str; 2] = ["-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP MESSAGE-----"];

/// The kind of a packet with a signature.
const SIGNATURE: u8 = 2;
/// Kinds of packets that are in messages: encrypted, compressed or literal data, and what announces a signature.
const OF_MESSAGES: [u8; 6] = [1, 3, 4, 8, 11, 18];

impl DetachedSignature {
    /// Reads a file of signatures (RFC 9580, sections 4.2, 6 and 10.4).
    pub fn parse(file: &[u8]) -> Result<Self, SignatureFormError> {
        let text = std::str::from_utf8(file).ok();
        let bytes = match text {
            Some(text) if MESSAGES.iter().any(|begin| text.contains(begin)) => {
                return Err(SignatureFormError::Message);
            }
            Some(text) => dearmoured(text, BEGIN, END).ok_or(SignatureFormError::NotDetached)?,
            None => file.to_owned(),
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (kind, length, header) = packet(rest).ok_or(SignatureFormError::NotDetached)?;
            match kind {
                SIGNATURE => {}
                kind if OF_MESSAGES.contains(&kind) => return Err(SignatureFormError::Message),
                _ => return Err(SignatureFormError::NotDetached),
            }
            let end = header.checked_add(length).ok_or(SignatureFormError::NotDetached)?;
            rest = rest.get(end..).ok_or(SignatureFormError::NotDetached)?;
        }
        if bytes.is_empty() { Err(SignatureFormError::NotDetached) } else { Ok(Self(bytes)) }
    }

    /// The signatures, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature whose body is no text.
    const ONE: &[u8] = &[0x88, 3, 4, 0xff, 0xfe];

    #[test]
    fn both_forms() {
        assert_eq!(DetachedSignature::parse(ONE).unwrap().bytes(), ONE);
        assert_eq!(DetachedSignature::parse(&[ONE, ONE].concat()).unwrap().bytes().len(), 10);
        let armoured = format!("{BEGIN}\n\niAME//4=\n=abcd\n{END}\n");
        assert_eq!(DetachedSignature::parse(armoured.as_bytes()).unwrap().bytes(), ONE);
    }

    #[test]
    fn what_is_none() {
        use SignatureFormError::{Message, NotDetached};
        let check = |file: &[u8], why| assert_eq!(DetachedSignature::parse(file), Err(why), "{file:?}");
        check(b"", NotDetached);
        check(b"<html>404</html>", NotDetached);
        check(&ONE[..4], NotDetached);
        check(&[0x98, 3, 4, 0xff, 0xfe], NotDetached);
        check(&[0x90, 3, 4, 0xff, 0xfe], Message);
        check(&[ONE, &[0xcb, 2, 0xff, 0xfe]].concat(), Message);
        check(format!("{}\n\ntext\n{BEGIN}\n\niAME//4=\n{END}\n", MESSAGES[0]).as_bytes(), Message);
        // In the armour of a signature.
        check(format!("{BEGIN}\n\nywL//g==\n{END}\n").as_bytes(), Message);
    }
}
