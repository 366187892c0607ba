//! Whether a detached signature is good, by the verdict of the ordinary tool for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ibuild_stages::debian::{Keyring, KeyringError};
use ibuild_stages::host::bounded;

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
    #[error("it is no key")]
    Key(#[from] KeyringError),
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
                gpgv(dir.path())
            }
            Self::Minisign(key) => minisign(dir.path(), key),
        }
    }
}

/// What `gpgv` says, by its status lines (doc/DETAILS of GnuPG).
fn gpgv(dir: &Path) -> Result<String, SignatureError> {
    let mut command = Command::new("gpgv");
    command.args(["--status-fd", "1", "--keyring", "./keys", "signature", "text"]);
    command.current_dir(dir).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(|error| SignatureError::Start("gpgv", error))?;
    judge(&String::from_utf8_lossy(&output.stdout), output.status.success())
}

fn judge(status: &str, succeeded: bool) -> Result<String, SignatureError> {
    let line = |word: &str| {
        let mut lines = status
            .lines()
            .filter_map(|line| line.strip_prefix("[GNUPG:] ")?.strip_prefix(word)?.strip_prefix(' '));
        lines.next().map(str::to_owned)
    };
    if let Some(who) = line("BADSIG") {
        return Err(SignatureError::Bad(who));
    }
    if let Some(who) = line("EXPKEYSIG").or_else(|| line("EXPSIG")) {
        return Err(SignatureError::Expired(who));
    }
    if let Some(who) = line("REVKEYSIG") {
        return Err(SignatureError::Revoked(who));
    }
    if let Some(key) = line("NO_PUBKEY") {
        return Err(SignatureError::Foreign(key));
    }
    match (line("GOODSIG"), line("VALIDSIG")) {
        (Some(who), Some(_)) if succeeded => Ok(who),
        _ => Err(SignatureError::Bad("it is no OpenPGP signature".to_owned())),
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
        let check = |lines: &[&str], succeeded| {
            let text: String = lines.iter().map(|line| format!("[GNUPG:] {line}\n")).collect();
            judge(&text, succeeded).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["NEWSIG", "GOODSIG K me", "VALIDSIG F"], true), Ok("K me".to_owned()));
        assert!(check(&["NEWSIG", "GOODSIG K me", "VALIDSIG F"], false).is_err());
        assert!(check(&["NEWSIG", "EXPKEYSIG K me", "VALIDSIG F"], true).unwrap_err().contains("expired"));
        assert!(check(&["NEWSIG", "REVKEYSIG K me", "VALIDSIG F"], true).unwrap_err().contains("revoked"));
        assert!(check(&["NEWSIG", "ERRSIG K", "NO_PUBKEY K"], false).unwrap_err().contains("another key"));
        assert!(check(&["NEWSIG", "BADSIG K me"], false).unwrap_err().contains("another text"));
        assert!(check(&[], true).is_err());
    }
}
