//! Counts and digests bytes on their way into a file, or while they are read back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
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
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(DiskError::io("read", path))?;
            if read == 0 {
                return Ok(writer.finish().1);
            }
            writer.digest(&buffer[..read]);
        }
    }
}

/// Passes bytes on and digests them, which a thread of its own does.
pub struct DigestWriter<W> {
    inner: W,
    size: u64,
    /// Bytes that have passed and are not on their way to the thread yet.
    waiting: Vec<u8>,
    hashing: Hashing,
}

/// Bytes that go to the thread at once.
const PORTION: usize = 1 << 20;
/// Portions that wait for it at most.
const AHEAD: usize = 8;

impl<W: Write> DigestWriter<W> {
    /// Starts with no bytes.
    pub fn new(inner: W) -> Self {
        DigestWriter { inner, size: 0, waiting: Vec::new(), hashing: Hashing::start() }
    }

    /// Number of bytes that have passed.
    pub fn position(&self) -> u64 {
        self.size
    }

    /// The writer behind this one, and the digests of what passed.
    pub fn finish(self) -> (W, Digests) {
        (self.inner, self.hashing.finish(self.waiting))
    }

    fn digest(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PORTION {
            let portion = std::mem::replace(&mut self.waiting, Vec::with_capacity(PORTION * 2));
            self.hashing.send(portion);
        }
    }
}

/// A thread that digests.
struct Hashing {
    portions: SyncSender<Vec<u8>>,
    thread: JoinHandle<Digests>,
}

impl Hashing {
    fn start() -> Self {
        let (portions, received) = sync_channel(AHEAD);
        Self { portions, thread: std::thread::spawn(move || digest_all(&received)) }
    }

    fn send(&self, portion: Vec<u8>) {
        self.portions.send(portion).expect("the thread ends after the last portion");
    }

    fn finish(self, last: Vec<u8>) -> Digests {
        self.send(last);
        drop(self.portions);
        self.thread.join().expect("digesting does not panic")
    }
}

fn digest_all(portions: &Receiver<Vec<u8>>) -> Digests {
    let (mut size, mut blake3, mut sha256) = (0, blake3::Hasher::new(), Sha256::new());
    for portion in portions {
        size += portion.len() as u64;
        blake3.update(&portion);
        sha256.update(&portion);
    }
    Digests { size, blake3: *blake3.finalize().as_bytes(), sha256: sha256.finalize().into() }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
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
        let (file, digests) = writer.finish();
        assert_eq!(digests.sha256_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digests.blake3, *blake3::hash(b"abc").as_bytes());
        assert_eq!(Digests::of_file(file.path()).unwrap(), digests);
    }
}
