//! Roots with real signatures, by keys made for the test, judged by the real gpgv.

use std::path::Path;
use std::process::{Command, Stdio};

use ibuild_stages::packages::{Acceptance, Gpgv, Lock, PackageError, record};

use crate::archive::{Setup, archive};
use crate::upstream::Reply;

const ROOT: &str = "/debian/dists/trixie/InRelease";

/// Somebody with a key.
struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    /// `None`, and said so, without gpg.
    fn new(name: &str) -> Option<Self> {
        if !Path::new("/usr/bin/gpg").exists() || !Path::new("/usr/bin/gpgv").exists() {
            eprintln!("SKIPPED: gpg and gpgv are needed");
            return None;
        }
        let signer = Self { home: tempfile::tempdir().unwrap() };
        signer.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"], b"");
        std::fs::write(signer.keyring(), signer.gpg(&["--export"], b"")).unwrap();
        Some(signer)
    }

    fn keyring(&self) -> std::path::PathBuf {
        self.home.path().join("ring.gpg")
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.gpg(&["--clearsign"], text)
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"])
            .args(arguments)
            .env("GNUPGHOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
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

fn adopt(setup: &Setup, keyring: &Path) -> Result<Lock, PackageError> {
    let (mut lock, nothing) = (Lock::default(), Lock::default());
    let now = "2026-09-14T00:00:00Z".parse().unwrap();
    let acceptance = Acceptance { now, lock: &nothing, tolerated: &[] };
    let releases = record(&setup.store, &archive(), &setup.fetcher, &Gpgv::new(keyring), acceptance)?;
    lock.set_archive("debian", releases);
    Ok(lock)
}

#[test]
fn real_signatures_decide() {
    let (Some(debian), Some(mallory)) = (Signer::new("Debian"), Signer::new("Mallory")) else { return };
    let setup = Setup::with_archive();
    let release =
        setup.fetcher.fetch_root(&ibuild_stages::packages::Base::Main, "dists/trixie/InRelease").unwrap();
    let signed = debian.sign(&release);
    let text = String::from_utf8(signed.clone()).unwrap();
    let other = text.replace("Date: Sat, 12", "Date: Sat, 19");
    assert_ne!(text, other);
    for (bytes, why) in [
        (other.into_bytes(), "its signature is not good: "),
        (mallory.sign(&release), "no key of "),
        (release.clone(), "it is not a signed Release"),
        ([b"Date: Sat, 19 Sep 2026 07:55:41 UTC\n", &signed[..]].concat(), "it is not a signed Release"),
        ([&signed[..], &signed[..]].concat(), "it is not a signed Release"),
        (signed[..signed.len() / 2].to_vec(), "it is not a signed Release"),
        (Vec::new(), "it is not a signed Release"),
    ] {
        setup.upstream.reply(ROOT, [Reply::File(bytes)]);
        let error = adopt(&setup, &debian.keyring()).expect_err("it was believed");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.to_string(), "cannot trust the InRelease of `trixie`");
        assert!(source.starts_with(why), "{source}");
        assert!(error.hint().is_some(), "{source}");
        assert_eq!(setup.store.packages().list().unwrap(), [], "{source}");
    }
    setup.upstream.reply(ROOT, [Reply::File(signed)]);
    let lock = adopt(&setup, &debian.keyring()).unwrap();
    assert_eq!(lock.releases().len(), 1);
}
