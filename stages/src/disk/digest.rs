//! Counts and digests bytes on their way into a file, or while they are read back.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::error::DiskError;

/// What is known of bytes once all of them have passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digests {
    /// Their number.
    pub size: u64,
    /// Their BLAKE3 digest, which names them in the store.
    pub blake3: [u8; 32],
    /// Their SHA-256 digest, which manifests and check sum files speak.
    pub sha256: [u8; 32],
}

impl Digests {
    /// The SHA-256 digest in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// Digests bytes that are in memory.
    pub fn of_bytes(bytes: &[u8]) -> Digests {
        let sha256 = Sha256::digest(bytes).into();
        Digests { size: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes(), sha256 }
    }

    /// Reads the file and digests it.
    pub fn of_file(path: &Path) -> Result<Digests, DiskError> {
        let mut file = File::open(path).map_err(DiskError::io("open", path))?;
        let mut writer = DigestWriter::new(io::sink());
        let read = io::copy(&mut file, &mut writer).and_then(|_| writer.finish());
        Ok(read.map_err(DiskError::io("read", path))?.1)
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes on their way to threads that digest them.
pub type Portion = Arc<Vec<u8>>;

/// Digests bytes that come in portions, which threads of its own do, one for each digest. Nothing is copied.
pub struct Digester {
    size: u64,
    blake3: Hashing,
    sha256: Hashing,
    member: Option<Hashing>,
}

/// Portions that wait for a thread at most.
const AHEAD: usize = 2;

impl Digester {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self { size: 0, blake3: Hashing::start(blake3_of), sha256: Hashing::start(sha256_of), member: None }
    }

    /// Number of bytes that have come.
    pub fn position(&self) -> u64 {
        self.size
    }

    /// Digests what comes next.
    pub fn update(&mut self, portion: &Portion) {
        self.size += portion.len() as u64;
        let all = [Some(&self.blake3), Some(&self.sha256), self.member.as_ref()];
        all.into_iter().flatten().for_each(|hashing| hashing.send(portion));
    }

    /// From here on bytes have a SHA-256 of their own as well, until [`end_member`](Self::end_member).
    pub fn begin_member(&mut self) {
        self.member = Some(Hashing::start(sha256_of));
    }

    /// The SHA-256 of the bytes since the member began.
    ///
    /// # Panics
    ///
    /// If none did.
    pub fn end_member(&mut self) -> [u8; 32] {
        self.member.take().expect("a member began").finish()
    }

    /// The digests of all that came.
    pub fn finish(self) -> Digests {
        Digests { size: self.size, blake3: self.blake3.finish(), sha256: self.sha256.finish() }
    }
}

/// Passes bytes on in portions and digests them on the way.
pub struct DigestWriter<W> {
    inner: W,
    /// Bytes that go on with the next portion.
    waiting: Vec<u8>,
    digester: Digester,
}

/// Bytes that go on at once.
const PORTION: usize = 1 << 20;

impl<W: Write> DigestWriter<W> {
    /// Starts with no bytes.
    pub fn new(inner: W) -> Self {
        DigestWriter { inner, waiting: Vec::with_capacity(PORTION), digester: Digester::new() }
    }

    /// Number of bytes that have come.
    pub fn position(&self) -> u64 {
        self.digester.position() + self.waiting.len() as u64
    }

    /// Passes everything on; gives back the writer behind this one, and the digests of what passed.
    pub fn finish(mut self) -> io::Result<(W, Digests)> {
        self.flush()?;
        Ok((self.inner, self.digester.finish()))
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let portion = Arc::new(mem::replace(&mut self.waiting, Vec::with_capacity(PORTION)));
        self.digester.update(&portion);
        self.inner.write_all(&portion)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PORTION - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == PORTION {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.inner.flush()
    }
}

/// A thread that digests.
struct Hashing {
    portions: SyncSender<Portion>,
    thread: JoinHandle<[u8; 32]>,
}

impl Hashing {
    fn start(digest: fn(&Receiver<Portion>) -> [u8; 32]) -> Self {
        let (portions, received) = sync_channel(AHEAD);
        Self { portions, thread: std::thread::spawn(move || digest(&received)) }
    }

    fn send(&self, portion: &Portion) {
        self.portions.send(portion.clone()).expect("the thread ends after the last portion");
    }

    fn finish(self) -> [u8; 32] {
        drop(self.portions);
        self.thread.join().expect("digesting does not panic")
    }
}

fn blake3_of(portions: &Receiver<Portion>) -> [u8; 32] {
    let mut blake3 = blake3::Hasher::new();
    for portion in portions {
        blake3.update(&portion);
    }
    *blake3.finalize().as_bytes()
}

fn sha256_of(portions: &Receiver<Portion>) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    portions.iter().for_each(|portion| sha256.update(&*portion));
    sha256.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_a_file_agree_with_the_known_digest() {
        let mut writer = DigestWriter::new(tempfile::NamedTempFile::new().unwrap());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(writer.position(), 3);
        let (file, digests) = writer.finish().unwrap();
        assert_eq!(digests.sha256_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digests.blake3, *blake3::hash(b"abc").as_bytes());
        assert_eq!(Digests::of_file(file.path()).unwrap(), digests);
    }

    #[test]
    fn a_member_has_a_digest_of_its_own() {
        let portions =
            [b"before".to_vec(), b"mem".repeat(1000), b"ber".to_vec(), b"after".to_vec()].map(Arc::new);
        let mut digester = Digester::new();
        digester.update(&portions[0]);
        digester.begin_member();
        portions[1..3].iter().for_each(|portion| digester.update(portion));
        let member = digester.end_member();
        digester.update(&portions[3]);
        let all = |portions: &[Portion]| portions.iter().flat_map(|it| it.to_vec()).collect::<Vec<u8>>();
        assert_eq!(member, Digests::of_bytes(&all(&portions[1..3])).sha256);
        assert_eq!(digester.finish(), Digests::of_bytes(&all(&portions)));
    }
}
