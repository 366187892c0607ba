//! Whether a suite's root is signed by someone we trust. `gpgv` decides, because apt itself asks it: an archive
//! is accepted here exactly if apt would accept it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ibuild_cache::{Digest, Sha256};

use crate::archive::declared::DEBIAN_KEYRING;
use ibuild_debian::{DetachedSignature, ReleaseError, release::check_envelope};

/// A signed text that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Exactly what the signature covers.
    pub text: String,
    /// Fingerprints of the keys with a good signature.
    pub signers: Vec<String>,
}

/// Why a text is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// gpgv is not installed, or cannot be started.
    #[error("cannot run `gpgv`")]
    NoGpgv(#[source] io::Error),
    /// The keyring cannot be read.
    #[error("cannot read the keyring `{}`", path.display())]
    NoKeyring {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// All signatures are by keys that the keyring does not have.
    #[error("no key of `{}` has signed it, but {}", keyring.display(), keys.join(", "))]
    UnknownKey {
        /// The keyring's path.
        keyring: PathBuf,
        /// The keys that did sign.
        keys: Vec<String>,
    },
    /// All signatures are by keys that are not in a file of the project.
    #[error("no key in `{}` has signed it, but {}", file.display(), keys.join(", "))]
    OtherKey {
        /// The file that has the archive's key.
        file: PathBuf,
        /// The keys that did sign.
        keys: Vec<String>,
    },
    /// A signature does not fit the text, or its key has expired or was revoked.
    #[error("its signature is not good: {0}")]
    Bad(String),
    /// It is not a signed text at all.
    #[error("it is not a signed Release")]
    Form(#[from] ReleaseError),
}

impl VerifyError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoGpgv(_) => "apt-get install gpgv",
            Self::NoKeyring { .. } => "apt-get install debian-archive-keyring",
            Self::UnknownKey { .. } => {
                "a newer `debian-archive-keyring` may have the key; else the mirror is not Debian's"
            }
            Self::OtherKey { .. } => {
                "`key` in the recipe names another key than the archive's: ask its makers for theirs, and compare fingerprints"
            }
            Self::Bad(_) | Self::Form(_) => {
                "the mirror, or something before it, sends other data: try another `mirror`"
            }
        }
    }
}

/// Something that decides whom to trust.
pub trait Verifier: Send + Sync {
    /// Verifies a clear-signed text.
    fn verify(&self, signed: &[u8]) -> Result<Verified, VerifyError>;

    /// Names the set of keys that is trusted: a verdict is remembered only for the same set.
    fn trust(&self) -> Result<Sha256, VerifyError>;
}

/// Verifies with the `gpgv` program.
#[derive(Debug, Clone)]
pub struct Gpgv {
    keyring: PathBuf,
    /// The file of the project that the keyring was made of.
    file: Option<PathBuf>,
}

impl Default for Gpgv {
    fn default() -> Self {
        Self::new(Path::new(DEBIAN_KEYRING))
    }
}

impl Gpgv {
    /// Trusts the keys in `keyring`.
    pub fn new(keyring: &Path) -> Self {
        Self { keyring: keyring.to_owned(), file: None }
    }

    /// Trusts the keys in `keyring`, which were taken from a file of the project: messages name that.
    pub fn with_key(keyring: &Path, file: &Path) -> Self {
        Self { keyring: keyring.to_owned(), file: Some(file.to_owned()) }
    }

    /// Verifies a detached signature of a file, whose path is absolute; tells the fingerprints of the keys with a good one.
    pub fn verify_file(
        &self,
        signature: &DetachedSignature,
        file: &Path,
    ) -> Result<Vec<String>, VerifyError> {
        self.trust()?;
        let output = self.run(&["--".as_ref(), "-".as_ref(), file.as_os_str()], signature.bytes());
        let output = output.map_err(VerifyError::NoGpgv)?;
        let signers = judge(&String::from_utf8_lossy(&output.stderr), &self.keyring);
        signers.map_err(|error| self.in_their_words(error))
    }

    /// What people know the keys by.
    fn in_their_words(&self, error: VerifyError) -> VerifyError {
        match (error, &self.file) {
            (VerifyError::UnknownKey { keys, .. }, Some(file)) => {
                VerifyError::OtherKey { file: file.clone(), keys }
            }
            (error, _) => error,
        }
    }

    /// gpgv takes what stands before a colon for a kind of keyring, so it is shown the file from its directory.
    fn run(&self, arguments: &[&OsStr], input: &[u8]) -> io::Result<Output> {
        let dir = match self.keyring.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let name = Path::new(".").join(self.keyring.file_name().unwrap_or_default());
        let mut child = Command::new("gpgv")
            .args(["--status-fd", "2", "--keyring"])
            .arg(name)
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        std::thread::scope(|scope| {
            // gpgv writes while it reads. It may also stop reading; its verdict then says why.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output()
        })
    }
}

impl Verifier for Gpgv {
    fn verify(&self, signed: &[u8]) -> Result<Verified, VerifyError> {
        self.trust()?;
        check_envelope(signed)?;
        let output = self.run(&["--output".as_ref(), "-".as_ref()], signed).map_err(VerifyError::NoGpgv)?;
        let signers = judge(&String::from_utf8_lossy(&output.stderr), &self.keyring);
        let signers = signers.map_err(|error| self.in_their_words(error))?;
        let text = String::from_utf8(output.stdout).map_err(|_| ReleaseError::Encoding)?;
        Ok(Verified { text, signers })
    }

    fn trust(&self) -> Result<Sha256, VerifyError> {
        let no_keyring = |source| VerifyError::NoKeyring { path: self.keyring.clone(), source };
        let mut bytes = Vec::new();
        fs::File::open(&self.keyring).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(no_keyring)?;
        let mut hasher = <Sha256 as Digest>::Hasher::default();
        Sha256::update(&mut hasher, &bytes);
        Ok(Sha256::finish(hasher))
    }
}

/// Reads gpgv's status lines as apt does: at least one good signature, and none that is bad. A signature by an
/// unknown or expired key beside a good one is normal (releases are signed by old and new keys), so the exit
/// status, which is 2 then, says nothing. An expired key gives a VALIDSIG too: only one after a GOODSIG counts.
fn judge(status: &str, keyring: &Path) -> Result<Vec<String>, VerifyError> {
    let (mut signers, mut unknown, mut refused, mut good) = (Vec::new(), Vec::new(), None, false);
    for line in status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["NEWSIG", ..] => good = false,
            ["GOODSIG", ..] => good = true,
            ["VALIDSIG", _, _, _, _, _, _, _, hash, ..] if is_weak(hash) => refused = Some(line),
            ["VALIDSIG", fingerprint, ..] if good => signers.push(fingerprint.to_owned()),
            ["NO_PUBKEY", key, ..] => unknown.push(key.to_owned()),
            ["BADSIG", ..] => return Err(VerifyError::Bad(line.to_owned())),
            ["EXPSIG" | "EXPKEYSIG" | "REVKEYSIG", ..] => refused = Some(line),
            _ => {}
        }
    }
    match refused.or_else(|| status.lines().last()) {
        _ if !signers.is_empty() => Ok(signers),
        None => Err(VerifyError::Bad("gpgv said nothing".to_owned())),
        Some(line) if refused.is_some() || unknown.is_empty() => Err(VerifyError::Bad(line.to_owned())),
        Some(_) => Err(VerifyError::UnknownKey { keyring: keyring.to_owned(), keys: unknown }),
    }
}

/// OpenPGP's numbers of MD5, SHA-1 and RIPEMD-160, which apt refuses as well.
fn is_weak(hash: &str) -> bool {
    matches!(hash, "1" | "2" | "3")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG K Debian\n[GNUPG:] VALIDSIG F d 1 0 4 0 1 8 01 P\n";
    const EXPIRED: &str =
        "[GNUPG:] NEWSIG\n[GNUPG:] EXPKEYSIG K Debian\n[GNUPG:] VALIDSIG F d 1 0 4 0 1 8 01 P\n";
    const UNKNOWN: &str = "[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG K 1 8 01 1 9 F\n[GNUPG:] NO_PUBKEY K\n";

    fn check(status: &str) -> Result<Vec<String>, VerifyError> {
        judge(status, Path::new("ring.gpg"))
    }

    #[test]
    fn one_good_signature_is_enough() {
        for status in [GOOD.to_owned(), format!("{UNKNOWN}{GOOD}"), format!("{GOOD}{UNKNOWN}{EXPIRED}")] {
            assert_eq!(check(&status).unwrap(), ["F"], "{status}");
        }
    }

    #[test]
    fn less_than_that_is_refused() {
        let bad = format!("{GOOD}[GNUPG:] NEWSIG\n[GNUPG:] BADSIG K Debian\n");
        let weak = GOOD.replace(" 8 01", " 2 01");
        for status in [bad.as_str(), EXPIRED, &weak, "", "[GNUPG:] NODATA 4\n", "GOODSIG K\nVALIDSIG F\n"] {
            assert!(matches!(check(status), Err(VerifyError::Bad(_))), "{status}");
        }
        let error = check(UNKNOWN).unwrap_err();
        assert_eq!(error.to_string(), "no key of `ring.gpg` has signed it, but K");
    }

    #[test]
    fn a_missing_keyring_has_a_remedy() {
        let error = Gpgv::new(Path::new("/nonexistent/ring.gpg")).verify(b"").unwrap_err();
        assert_eq!(error.hint(), "apt-get install debian-archive-keyring");
    }
}
