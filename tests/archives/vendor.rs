//! A vendor with a key, packages, and a web server on loopback. The packages are dpkg-deb's and the signatures gpg's.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use ibuild::cache::{Digest, Sha256};

use crate::signer::Signer;

/// What is signed is dated so; suites of a later state have a later day.
const DAY: &str = "Sep 2026 07:55:41 UTC";

pub struct Vendor {
    home: tempfile::TempDir,
    signer: Signer,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

/// A package that has nothing but a file, and may have a script.
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    pub fields: &'a str,
    /// What is run when it is configured; nothing if it is empty.
    pub postinst: &'a str,
}

impl Vendor {
    pub fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(home.path().join("www")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (www, seen) = (home.path().join("www"), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (www, seen) = (www.clone(), seen.clone());
                std::thread::spawn(move || drop(serve(&stream.unwrap(), &www, &seen)));
            }
        });
        Self { home, signer: Signer::new("Vendor"), port, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The paths that somebody has asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn armoured_key(&self) -> Vec<u8> {
        self.signer.gpg(&["--armor", "--export"], b"")
    }

    pub fn binary_key(&self) -> Vec<u8> {
        self.signer.binary_key()
    }

    pub fn secret_key(&self) -> Vec<u8> {
        self.signer.gpg(&["--armor", "--export-secret-keys"], b"")
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.signer.sign(text)
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.home.path().join("www").join(path)
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// Makes a package at a path below an archive, and says what an index has to say of it.
    pub fn package(&self, archive: &str, path: &str, package: &Package<'_>) -> String {
        let Package { name, version, architecture, fields, postinst } = package;
        let tree = self.home.path().join("tree");
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("opt")).unwrap();
        fs::write(tree.join("opt").join(name), format!("{name} {version}\n")).unwrap();
        let mut control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Vendor <v@example.org>\n{fields}"
        );
        let described = control.clone() + "Description: a test\n";
        fs::write(tree.join("DEBIAN/control"), described).unwrap();
        if !postinst.is_empty() {
            let script = tree.join("DEBIAN/postinst");
            fs::write(&script, format!("#!/bin/sh\n{postinst}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let deb = self.file(archive).join(path);
        fs::create_dir_all(deb.parent().unwrap()).unwrap();
        let made = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .args([&tree, &deb])
            // The same package has the same bytes whenever it is made.
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let bytes = fs::read(&deb).unwrap();
        write!(control, "Filename: {path}\nSize: {}\nSHA256: {}\n\n", bytes.len(), hex(&bytes)).unwrap();
        control
    }

    /// Publishes indices with a signed Release in a directory: their names there, and their texts.
    pub fn publish(&self, directory: &str, day: u32, fields: &str, indices: &[(&str, &str)]) {
        let mut release = format!("Date: Mon, {day:02} {DAY}\n{fields}SHA256:\n");
        for (name, text) in indices {
            self.put(&format!("{directory}/{name}"), text.as_bytes());
            writeln!(release, " {} {} {name}", hex(text.as_bytes()), text.len()).unwrap();
        }
        self.put(&format!("{directory}/InRelease"), &self.sign(release.as_bytes()));
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hasher = <Sha256 as Digest>::Hasher::default();
    Sha256::update(&mut hasher, bytes);
    Sha256::finish(hasher).hex()
}

fn serve(mut stream: &TcpStream, www: &Path, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(request) = lines.next() {
        let path = request?.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        asked.lock().unwrap().push(path.clone());
        let path = path.replace("%2b", "+").replace("%7e", "~");
        let (status, bytes) = match fs::read(www.join(path)) {
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", bytes.len())?;
        stream.write_all(&bytes)?;
    }
    Ok(())
}
