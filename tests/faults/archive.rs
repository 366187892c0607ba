//! An archive of one suite, signed with a key of its own, on a mirror that misbehaves as it is told; and clients that hide
//! nothing of what a proxy of it sends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use ibuild::cache::{Digest, Sha256};

use crate::running::Running;
use crate::signer::Signer;
use crate::upstream::{FakeUpstream, Reply};

const INDEX: &str = "dists/trixie/main/binary-amd64/Packages";
const ROOT: &str = "dists/trixie/InRelease";

/// The mirror, what it is to have, and who signs it.
pub struct SignedArchive {
    pub upstream: FakeUpstream,
    signer: Signer,
    keyring: tempfile::NamedTempFile,
    packages: BTreeMap<String, (Sha256, u64)>,
}

impl SignedArchive {
    /// Empty.
    pub fn new() -> Self {
        let (signer, keyring) = (Signer::new("Debian"), tempfile::NamedTempFile::new().unwrap());
        fs::write(&keyring, signer.binary_key()).unwrap();
        Self { upstream: FakeUpstream::start(), signer, keyring, packages: BTreeMap::new() }
    }

    /// A proxy that knows this mirror and this key alone.
    pub fn serve(&self, dir: &Path) -> Running {
        let mirror = self.upstream.url("debian").to_string();
        let keyring = self.keyring.path().to_str().expect("temporary files have plain names");
        let arguments = ["--mirror", &mirror, "--security-mirror", &mirror, "--keyring", keyring];
        Running::start(dir, "log", &arguments)
    }

    /// Paths and digests of everything that was ever added.
    pub fn packages(&self) -> impl Iterator<Item = (&String, &Sha256)> {
        self.packages.iter().map(|(path, (sha256, _))| (path, sha256))
    }

    /// Has one more package after the next [`SignedArchive::publish`]. The mirror replies to requests for it as told.
    pub fn add(&mut self, path: &str, bytes: &[u8], replies: Vec<Reply>) {
        self.packages.insert(path.to_owned(), (sha256(bytes), bytes.len() as u64));
        self.upstream.reply(&format!("/debian/{path}"), replies);
    }

    /// Has no bytes for a package any more, although it stays listed.
    pub fn lose(&self, path: &str) {
        self.upstream.reply(&format!("/debian/{path}"), [Reply::Status(404)]);
    }

    /// Signs a state of the archive: the higher the number, the later.
    pub fn publish(&self, state: usize) {
        let stanza = |(path, (digest, size)): (&String, &(Sha256, u64))| {
            let name = path.rsplit('/').next().unwrap();
            format!(
                "Package: {name}\nVersion: 1\nFilename: {path}\nSize: {size}\nSHA256: {}\n\n",
                digest.hex()
            )
        };
        let index: String = self.packages.iter().map(stanza).collect();
        let (digest, size) = (sha256(index.as_bytes()).hex(), index.len());
        let time = format!("{:02}:{:02}:{:02}", state / 3600, state / 60 % 60, state % 60);
        let release = format!(
            "Suite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 {time} UTC\nSHA256:\n {digest} {size} \
             main/binary-amd64/Packages\n"
        );
        let signed = self.signer.sign(release.as_bytes());
        self.upstream.reply(&format!("/debian/{INDEX}"), [Reply::File(index.into_bytes())]);
        self.upstream.reply(&format!("/debian/{ROOT}"), [Reply::File(signed)]);
    }
}

/// How far a client came.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A whole file.
    Whole(Vec<u8>),
    /// Another answer than a file, with this status.
    Refused(u16),
    /// The proxy is gone, or has broken the connection.
    Broken,
}

/// Asks for what an update needs.
pub fn update(proxy: &str) {
    get(proxy, ROOT);
    get(proxy, INDEX);
}

/// Asks for a file of the archive.
pub fn get(proxy: &str, path: &str) -> Fetched {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(proxy)?;
        let url = format!("http://deb.debian.org/debian/{path}");
        write!(stream, "GET {url} HTTP/1.1\r\nHost: deb.debian.org\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        // As far as it came.
        let _ = stream.read_to_end(&mut bytes);
        Ok(bytes)
    };
    let bytes = ask().unwrap_or_default();
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Fetched::Broken };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    match bytes.len() - end - 4 {
        _ if status != 200 => Fetched::Refused(status),
        come if come == length.parse::<usize>().unwrap() => Fetched::Whole(bytes[end + 4..].to_vec()),
        _ => Fetched::Broken,
    }
}

pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hasher = <Sha256 as Digest>::Hasher::default();
    Sha256::update(&mut hasher, bytes);
    Sha256::finish(hasher)
}
