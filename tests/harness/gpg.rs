//! A user of gpg with a key and an agent of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::Sandbox;

/// A home of gpg with one key.
pub struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    /// With a key that does not expire.
    pub fn new() -> Self {
        Self::with("never", "")
    }

    /// A key that could be used for a day, years ago, by a gpg that lives then.
    pub fn of_2020() -> Self {
        Self::with("1d", "faked-system-time 20200101T000000!\n")
    }

    fn with(expires: &str, more: &str) -> Self {
        let gpg = Self { home: tempfile::tempdir_in("/var/tmp").unwrap() };
        let options = format!("batch\npinentry-mode loopback\npassphrase ''\n{more}");
        fs::write(gpg.home.path().join("gpg.conf"), options).unwrap();
        gpg.run(&["--quick-generate-key", "me@example.org", "ed25519", "sign", expires]);
        gpg
    }

    /// Where gpg is to look for keys.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What gpg prints.
    pub fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        let output = gpg.args(arguments).env("GNUPGHOME", self.home.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    }

    /// Runs ibuild with this home.
    pub fn sign(&self, lab: &Sandbox, arguments: &[&str]) {
        let mut command = lab.command(arguments);
        let output = command.env("GNUPGHOME", self.home.path()).output().unwrap();
        lab.finish(output).succeeds();
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        assert!(kill.args(["--kill", "all"]).env("GNUPGHOME", self.home.path()).status().unwrap().success());
    }
}
