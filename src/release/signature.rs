//! Whether a detached signature is good, by the verdict of the ordinary tool for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ibuild_stages::debian::{DetachedSignature, Keyring, KeyringError, SignatureFormError};
use ibuild_stages::host::bounded;
use ibuild_stages::packages::{Gpgv, VerifyError};

/// Keys are small.
const LONGEST: u64 = 1 << 20;

/// The public key that a signature is to be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// OpenPGP keys in their binary form, for `gpgv`.
    OpenPgp(Vec<u8>),
    /// A file for `minisign`.
    Minisign(PathBuf),
}

/// Why a signature is not good.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file of the key cannot be read.
    #[error("cannot read the key")]
    Read(#[source] io::Error),
    /// It is none.
    #[error("it cannot be used as a key")]
    Key(#[from] KeyringError),
    /// It is no signature of another file.
    #[error(transparent)]
    Form(#[from] SignatureFormError),
    /// The tool cannot be started.
    #[error("cannot run `{0}`")]
    Start(&'static str, #[source] io::Error),
    /// Somebody else has signed.
    #[error("another key has signed it: {0}")]
    Foreign(String),
    /// The key has expired.
    #[error("the key that signed it has expired: {0}")]
    Expired(String),
    /// The key was revoked.
    #[error("the key that signed it was revoked: {0}")]
    Revoked(String),
    /// What was signed was something else.
    #[error("the signature is of another text: {0}")]
    Bad(String),
}

impl Key {
    /// Reads a public key: armoured or not, or one of minisign.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no public key.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let bytes = bounded::read(path, LONGEST).map_err(SignatureError::Read)?;
        if bytes.starts_with(b"untrusted comment:") {
            let path = std::path::absolute(path).map_err(SignatureError::Read)?;
            return Ok(Self::Minisign(path));
        }
        Ok(Self::OpenPgp(Keyring::parse(&bytes)?.bytes().to_owned()))
    }

    /// How the file with a signature of this kind ends.
    pub fn ending(&self) -> &'static str {
        match self {
            Self::OpenPgp(_) => ".gpg",
            Self::Minisign(_) => ".minisig",
        }
    }

    /// Whether this key has signed a text.
    ///
    /// # Errors
    ///
    /// If it has not, or if the tool is missing.
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> Result<String, SignatureError> {
        let dir = tempfile::tempdir().map_err(SignatureError::Read)?;
        let place =
            |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).map_err(SignatureError::Read);
        place("text", text)?;
        place("signature", signature)?;
        match self {
            Self::OpenPgp(keys) => {
                place("keys", keys)?;
                gpgv(dir.path(), signature)
            }
            Self::Minisign(key) => minisign(dir.path(), key),
        }
    }
}

/// What `gpgv` says of a signature, under the same rules as apt has for archives.
fn gpgv(dir: &Path, signature: &[u8]) -> Result<String, SignatureError> {
    let signature = DetachedSignature::parse(signature)?;
    let gpgv = Gpgv::new(&dir.join("keys"));
    let signers = gpgv.verify_file(&signature, &dir.join("text")).map_err(SignatureError::of)?;
    Ok(signers.join(", "))
}

impl SignatureError {
    /// Of what gpgv says, in its words (doc/DETAILS of GnuPG).
    fn of(error: VerifyError) -> Self {
        match error {
            VerifyError::NoGpgv(source) => Self::Start("gpgv", source),
            VerifyError::UnknownKey { keys, .. } | VerifyError::OtherKey { keys, .. } => {
                Self::Foreign(keys.join(", "))
            }
            VerifyError::Bad(line) => {
                let (_, said) = line.split_once("[GNUPG:] ").unwrap_or(("", &line));
                let (word, who) = said.split_once(' ').unwrap_or((said, ""));
                match word {
                    "EXPKEYSIG" | "EXPSIG" => Self::Expired(who.to_owned()),
                    "REVKEYSIG" => Self::Revoked(who.to_owned()),
                    _ => Self::Bad(who.to_owned()),
                }
            }
            error => Self::Bad(error.to_string()),
        }
    }
}

fn minisign(dir: &Path, key: &Path) -> Result<String, SignatureError> {
    let mut command = Command::new("minisign");
    command
        .args(["-V", "-m", "text", "-x", "signature", "-p"])
        .arg(key)
        .current_dir(dir)
        .stdin(Stdio::null());
    let output = command.output().map_err(|error| SignatureError::Start("minisign", error))?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned();
    match output.status.success() {
        true => Ok(said),
        false if said.contains("key id") || said.contains("key ID") => Err(SignatureError::Foreign(said)),
        false => Err(SignatureError::Bad(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_its_own() {
        let said = |line: &str| SignatureError::of(VerifyError::Bad(format!("[GNUPG:] {line}"))).to_string();
        assert!(said("EXPKEYSIG K me").contains("expired: K me"));
        assert!(said("REVKEYSIG K me").contains("revoked: K me"));
        assert!(said("BADSIG K me").contains("another text: K me"));
        let keys = vec!["K".to_owned()];
        let foreign = SignatureError::of(VerifyError::UnknownKey { keyring: PathBuf::new(), keys });
        assert!(foreign.to_string().contains("another key has signed it: K"));
    }
}
