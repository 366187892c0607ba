//! The envelope around a signed build record: DSSE, <https://github.com/secure-systems-lab/dsse/blob/master/envelope.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What is in an envelope of ours.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The record, in base64.
    payload: String,
    /// What it is.
    #[serde(rename = "payloadType")]
    payload_type: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

/// A signature of the [encoding](pre_authentication_encoding) of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key's name, as the signer was asked for it.
    #[serde(default)]
    pub keyid: String,
    /// The signature, in base64.
    sig: String,
}

/// Why something is no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It is not the JSON of one.
    #[error("it is not a signed build record")]
    Form(#[from] serde_json::Error),
    /// It has something else inside.
    #[error("it has `{0}` inside, not a build record")]
    Type(String),
    /// What is inside is not base64.
    #[error("`{0}` is not base64")]
    Base64(&'static str),
}

impl Envelope {
    /// A record with its signatures.
    pub fn new(record: &[u8], signatures: Vec<Signature>) -> Self {
        Self { payload: STANDARD.encode(record), payload_type: PAYLOAD_TYPE.to_owned(), signatures }
    }

    /// The same record with the signatures of another envelope around it, too; those of a key that has signed this one are left out.
    #[must_use]
    pub fn joined(mut self, other: Self) -> Self {
        if other.payload == self.payload && other.payload_type == self.payload_type {
            let known: Vec<_> = self.signatures.iter().map(|it| it.keyid.clone()).collect();
            self.signatures.extend(other.signatures.into_iter().filter(|it| !known.contains(&it.keyid)));
        }
        self
    }

    /// Its text, a line.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("an envelope is plain data") + "\n"
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// If it is none, or has something else inside than a build record.
    pub fn read(text: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self = serde_json::from_slice(text)?;
        match envelope.payload_type == PAYLOAD_TYPE {
            true => Ok(envelope),
            false => Err(EnvelopeError::Type(envelope.payload_type)),
        }
    }

    /// The record.
    ///
    /// # Errors
    ///
    /// If it is not base64.
    pub fn record(&self) -> Result<Vec<u8>, EnvelopeError> {
        STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::Base64("payload"))
    }
}

impl Signature {
    /// A signature by the key of this name.
    pub fn new(keyid: &str, signature: &[u8]) -> Self {
        Self { keyid: keyid.to_owned(), sig: STANDARD.encode(signature) }
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// If it is not base64.
    pub fn bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        STANDARD.decode(&self.sig).map_err(|_| EnvelopeError::Base64("sig"))
    }
}

/// What is signed instead of the record itself, so that its type is signed, too.
pub fn pre_authentication_encoding(record: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), record.len());
    [head.as_bytes(), record].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let envelope = Envelope::new(b"{}", vec![Signature::new("me", b"\x01\x02")]);
        let read = Envelope::read(envelope.to_text().as_bytes()).unwrap();
        assert_eq!(read, envelope);
        assert_eq!(read.record().unwrap(), b"{}");
        assert_eq!(read.signatures[0].bytes().unwrap(), b"\x01\x02");
        assert!(Envelope::read(b"{}").is_err());
    }

    #[test]
    fn type_and_lengths_are_signed() {
        assert_eq!(pre_authentication_encoding(b"{}"), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
    }
}
