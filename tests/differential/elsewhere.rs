//! Files that no archive of packages has: two tarballs with their signatures, on the server of the archives.

use std::fs;
use std::process::Command;

use ibuild::cache::{Digest, Sha256};

use crate::signer::Signer;
use crate::vendor::Vendor;

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    pub url: String,
    pub sha256: String,
}

/// Both of them, and the key that has signed them.
pub struct Tarballs {
    pub files: [Elsewhere; 2],
    signer: Signer,
}

impl Tarballs {
    pub fn on(vendor: &Vendor) -> Self {
        let signer = Signer::new("Maker");
        let publish = |(name, compression): (&str, &str)| {
            let path = format!("files/{name}.tar");
            let bytes = tarball(name, compression);
            vendor.put(&path, &bytes);
            vendor.put(&format!("{path}.asc"), &signer.gpg(&["--armor", "--detach-sign"], &bytes));
            Elsewhere { url: vendor.url(&path), sha256: Sha256::of(&bytes).hex() }
        };
        let files = [("one", "--gzip"), ("two", "--no-auto-compress")].map(publish);
        Self { files, signer }
    }

    pub fn armoured_key(&self) -> Vec<u8> {
        self.signer.gpg(&["--armor", "--export"], b"")
    }

    pub fn binary_key(&self) -> Vec<u8> {
        self.signer.binary_key()
    }
}

/// Files, a directory and links, all in one directory.
fn tarball(name: &str, compression: &str) -> Vec<u8> {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("deep")).unwrap();
    fs::write(top.join("name"), format!("{name}\n")).unwrap();
    fs::write(top.join("deep/file"), "deep\n").unwrap();
    fs::hard_link(top.join("deep/file"), top.join("same")).unwrap();
    std::os::unix::fs::symlink(format!("deep/{name}"), top.join("link")).unwrap();
    let made = Command::new("tar")
        .args(["-c", compression, "--sort=name", "--mtime=@1600000000", "--owner=9", "--group=9", "-C"])
        .arg(dir.path())
        .arg("top")
        .output()
        .expect("install `tar`");
    assert!(made.status.success());
    made.stdout
}
