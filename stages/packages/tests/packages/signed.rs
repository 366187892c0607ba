//! Roots with real signatures, by keys made for the test, judged by the real gpgv.

use std::path::Path;

use ibuild_packages::{Acceptance, Gpgv, Lock, PackageError, record};

use crate::archive::{Setup, archive};
use crate::signer::Signer;
use crate::upstream::Reply;

const ROOT: &str = "/debian/dists/trixie/InRelease";

/// Says so where they are not.
fn gpg_and_gpgv_are_here() -> bool {
    let here = Path::new("/usr/bin/gpg").exists() && Path::new("/usr/bin/gpgv").exists();
    if !here {
        eprintln!("SKIPPED: gpg and gpgv are needed");
    }
    here
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
    if !gpg_and_gpgv_are_here() {
        return;
    }
    let (debian, mallory) = (Signer::new("Debian"), Signer::new("Mallory"));
    let dir = tempfile::tempdir().unwrap();
    // Before a colon gpgv expects the kind of a keyring.
    let keyring = dir.path().join("store:1").join("ring.gpg");
    std::fs::create_dir(keyring.parent().unwrap()).unwrap();
    std::fs::write(&keyring, debian.binary_key()).unwrap();
    let setup = Setup::with_archive();
    let release = setup.fetcher.fetch_root(&ibuild_debian::Base::Main, "dists/trixie/InRelease").unwrap();
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
        let error = adopt(&setup, &keyring).expect_err("it was believed");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.to_string(), "cannot trust the InRelease of `trixie`");
        assert!(source.starts_with(why), "{source}");
        assert!(error.hint().is_some(), "{source}");
        assert_eq!(setup.store.packages().list().unwrap(), [], "{source}");
    }
    setup.upstream.reply(ROOT, [Reply::File(signed)]);
    let lock = adopt(&setup, &keyring).unwrap();
    assert_eq!(lock.releases().len(), 1);
}
