//! A key of its own, with which an archive of a test is signed by gpg.

use std::io::Write;
use std::process::{Command, Stdio};

pub struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    /// A new key in this name.
    pub fn new(name: &str) -> Self {
        let signer = Self { home: tempfile::tempdir_in("/var/tmp").unwrap() };
        signer.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"], b"");
        signer
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.gpg(&["--clearsign"], text)
    }

    /// The public key, as gpgv reads it.
    pub fn binary_key(&self) -> Vec<u8> {
        self.gpg(&["--export"], b"")
    }

    /// What gpg says to these arguments.
    pub fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"])
            .args(arguments)
            .env("GNUPGHOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("gpg is installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        output.stdout
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent that gpg started for this home ends with it.
        let kill =
            Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.home.path()).status();
        assert!(kill.is_ok_and(|status| status.success()), "gpg's agent is left");
    }
}
