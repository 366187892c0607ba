//! Build records of others: signed or not.

use std::path::Path;

use ibuild_stages::host::bounded;
use ibuild_stages::release::{Envelope, Statement, pre_authentication_encoding, read_statement};

use super::{Key, SIGNED_RECORD};
use crate::error::{Context, Result, UsageError};

/// A record is read as a whole; this is the longest.
const LONGEST: u64 = 256 << 20;

/// Whether one of the signatures of a record is of a key: by whom.
pub(crate) fn verify_envelope(envelope: &Envelope, key: &Key) -> std::result::Result<String, String> {
    let record = envelope.record().map_err(|error| error.to_string())?;
    let encoding = pre_authentication_encoding(&record);
    let mut last = "nobody has signed it".to_owned();
    for signature in &envelope.signatures {
        let bytes = signature.bytes().map_err(|error| error.to_string())?;
        match key.verify(&encoding, &bytes) {
            Ok(who) => return Ok(who),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Reads a build record, signed or not. With a key, a signature of it is wanted.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage) if it is none, or not signed by the key.
pub fn read_record(path: &Path, key: Option<&Key>) -> Result<Statement> {
    let bytes = bounded::read(path, LONGEST).with_context(|| format!("cannot read `{}`", path.display()))?;
    let wrong = |error: &dyn std::fmt::Display| UsageError::new(format!("`{}`: {error}", path.display()));
    let envelope = Envelope::read(&bytes);
    let record = match (&envelope, key) {
        (Ok(envelope), Some(key)) => {
            verify_envelope(envelope, key).map_err(|error| wrong(&error))?;
            envelope.record().map_err(|error| wrong(&error))?
        }
        (Ok(envelope), None) => envelope.record().map_err(|error| wrong(&error))?,
        (Err(_), Some(_)) => {
            return Err(wrong(&"it is not signed")
                .hint(format!("a signed record ends with `{SIGNED_RECORD}`"))
                .into());
        }
        (Err(_), None) => bytes,
    };
    let read = read_statement(&record).map_err(|error| wrong(&error))?;
    Ok(read)
}
