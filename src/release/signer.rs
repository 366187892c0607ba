//! Who signs a release. Keys stay where people keep them: a program of theirs is asked for a signature.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::error::{Classified, ErrorKind};

/// What makes signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// GnuPG, with the key of this name.
    Gpg(String),
    /// minisign, with the secret key in this file.
    Minisign(PathBuf),
    /// A command for `sh`, which reads what is to be signed and writes the signature.
    Command(String),
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The text says no way to sign.
    #[error("`{0}` is not a way to sign: write `gpg:KEY`, `minisign:FILE` or `command:COMMAND`")]
    Unknown(String),
    /// The program cannot be started.
    #[error("cannot run `{program}`")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of the key cannot be read.
    #[error("cannot read the key `{}`", path.display())]
    NoKey {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program has failed.
    #[error("`{program}` did not sign: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The last line that it said.
        said: String,
    },
    /// The program wrote no signature.
    #[error("`{0}` ended well and wrote no signature")]
    Nothing(&'static str),
    /// A file on the way could not be written or read.
    #[error("cannot pass the data to the signer")]
    Pass(#[from] io::Error),
}

impl Classified for SignError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::Usage,
            _ => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Unknown(_) => {
                "`--sign gpg:KEY`, `--sign minisign:FILE` and `--sign command:COMMAND` are ways to sign"
            }
            Self::Start { program: "gpg", .. } => "apt-get install gnupg",
            Self::Start { program: "minisign", .. } => "apt-get install minisign",
            Self::Refused { program: "gpg", .. } => "`gpg --list-secret-keys` lists the keys that can sign",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl FromStr for Signer {
    type Err = SignError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("gpg", key)) if !key.is_empty() => Ok(Self::Gpg(key.to_owned())),
            Some(("minisign", file)) if !file.is_empty() => Ok(Self::Minisign(file.into())),
            Some(("command", command)) if !command.is_empty() => Ok(Self::Command(command.to_owned())),
            _ => Err(SignError::Unknown(text.to_owned())),
        }
    }
}

impl Signer {
    /// How a file with a signature of it ends: `SHA256SUMS.gpg`.
    pub fn ending(&self) -> &'static str {
        match self {
            Self::Gpg(_) => ".gpg",
            Self::Minisign(_) => ".minisig",
            Self::Command(_) => ".sig",
        }
    }

    /// What a signed record calls the key.
    pub fn key_id(&self) -> String {
        match self {
            Self::Gpg(key) => key.clone(),
            Self::Minisign(_) => "minisign".to_owned(),
            Self::Command(_) => "command".to_owned(),
        }
    }

    /// Refuses a key that is not there, before there is anything to sign.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, or does not have the key.
    pub fn check(&self) -> Result<(), SignError> {
        match self {
            Self::Gpg(key) => piped("gpg", ["--list-secret-keys", "--with-colons", key], b"").map(drop),
            Self::Minisign(key) => {
                let found = std::fs::File::open(key).map(drop);
                found.map_err(|source| SignError::NoKey { path: key.clone(), source })
            }
            Self::Command(_) => Ok(()),
        }
    }

    /// A detached signature.
    ///
    /// # Errors
    ///
    /// If the program cannot be started, fails, or writes none.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Gpg(key) => {
                let arguments = ["--no-armor", "--detach-sign", "--output", "-", "--local-user", key];
                piped("gpg", arguments, bytes)
            }
            Self::Command(command) => piped("sh", ["-c", command], bytes),
            Self::Minisign(key) => minisign(key, bytes),
        }
    }
}

/// What a program makes of bytes.
fn piped<const N: usize>(
    program: &'static str,
    arguments: [&str; N],
    bytes: &[u8],
) -> Result<Vec<u8>, SignError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| SignError::Start { program, source })?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = std::thread::scope(|scope| {
        // A program may end before it has read everything; its status says why.
        scope.spawn(move || drop(stdin.write_all(bytes)));
        child.wait_with_output()
    })?;
    judged(program, output.status.success(), &output.stderr)?;
    if output.stdout.is_empty() { Err(SignError::Nothing(program)) } else { Ok(output.stdout) }
}

/// minisign reads and writes files, and may ask for a password on the terminal.
fn minisign(key: &std::path::Path, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
    const PROGRAM: &str = "minisign";
    let dir = tempfile::tempdir()?;
    let (message, signature) = (dir.path().join("message"), dir.path().join("signature"));
    std::fs::write(&message, bytes)?;
    let [sign, secret, of, into] = ["-S", "-s", "-m", "-x"].map(OsStr::new);
    let arguments = [sign, secret, key.as_os_str(), of, message.as_os_str(), into, signature.as_os_str()];
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().map_err(|source| SignError::Start { program: PROGRAM, source })?;
    judged(PROGRAM, output.status.success(), &output.stderr)?;
    std::fs::read(&signature).map_err(|_| SignError::Nothing(PROGRAM))
}

fn judged(program: &'static str, succeeded: bool, stderr: &[u8]) -> Result<(), SignError> {
    if succeeded {
        return Ok(());
    }
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    Err(SignError::Refused { program, said: last.unwrap_or("it said nothing").trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_sign_are_told_apart() {
        assert_eq!("gpg:me@example.org".parse::<Signer>().unwrap(), Signer::Gpg("me@example.org".to_owned()));
        assert_eq!("command:a:b".parse::<Signer>().unwrap(), Signer::Command("a:b".to_owned()));
        for text in ["gpg:", "gpg", "pgp:x", ""] {
            assert!(matches!(text.parse::<Signer>(), Err(SignError::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn a_command_signs_or_says_why_not() {
        let sign = |command: &str| Signer::Command(command.to_owned()).sign(b"text");
        assert_eq!(sign("rev").unwrap(), b"txet");
        assert_eq!(
            sign("cat >/dev/null; echo no key >&2; exit 3").unwrap_err().to_string(),
            "`sh` did not sign: no key"
        );
        assert!(matches!(sign("true").unwrap_err(), SignError::Nothing("sh")));
    }
}
