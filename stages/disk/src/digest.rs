//! Counts and digests bytes on their way into a file.
//!
//! A file is named by BLAKE3 alone. SHA-256 is computed only where a format demands it: in the manifest of an OVA and
//! in the names of an OCI image's blobs. Of a whole OVA it would take most of the time of an edit that changes only the
//! machine's memory, because the OVF is the first member and a SHA-256 cannot be continued behind a change.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use ibuild_cache::Digest;

/// What is known of bytes once all of them have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digested<D> {
    /// Their number.
    pub size: u64,
    /// Their digest.
    pub digest: D,
}

impl<D: Digest> Digested<D> {
    /// Digests bytes that are in memory.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut hasher = D::Hasher::default();
        D::update(&mut hasher, bytes);
        Self { size: bytes.len() as u64, digest: D::finish(hasher) }
    }
}

/// Bytes on their way to threads that digest them.
pub type Portion = Arc<Vec<u8>>;

/// Digests bytes that come in portions, which a thread of its own does. Nothing is copied.
pub struct Digester<D> {
    size: u64,
    portions: SyncSender<Portion>,
    thread: JoinHandle<D>,
}

/// Portions that wait for a thread at most.
const AHEAD: usize = 2;

impl<D: Digest> Digester<D> {
    /// Starts with no bytes.
    pub fn new() -> Self {
        let (portions, received) = sync_channel(AHEAD);
        Self { size: 0, portions, thread: std::thread::spawn(move || digest_of(&received)) }
    }

    /// Number of bytes that have come.
    pub fn position(&self) -> u64 {
        self.size
    }

    /// Digests what comes next.
    pub fn update(&mut self, portion: &Portion) {
        self.size += portion.len() as u64;
        self.portions.send(portion.clone()).expect("the thread ends after the last portion");
    }

    /// The digest of all that came.
    pub fn finish(self) -> Digested<D> {
        drop(self.portions);
        Digested { size: self.size, digest: self.thread.join().expect("digesting does not panic") }
    }
}

fn digest_of<D: Digest>(portions: &Receiver<Portion>) -> D {
    let mut hasher = D::Hasher::default();
    for portion in portions {
        D::update(&mut hasher, &portion);
    }
    D::finish(hasher)
}

/// Passes bytes on in portions and digests them on the way.
pub struct DigestWriter<W, D> {
    inner: W,
    /// Bytes that go on with the next portion.
    waiting: Vec<u8>,
    digester: Digester<D>,
}

/// Bytes that go on at once.
const PORTION: usize = 1 << 20;

impl<W: Write, D: Digest> DigestWriter<W, D> {
    /// Starts with no bytes.
    pub fn new(inner: W) -> Self {
        DigestWriter { inner, waiting: Vec::with_capacity(PORTION), digester: Digester::new() }
    }

    /// Number of bytes that have come.
    pub fn position(&self) -> u64 {
        self.digester.position() + self.waiting.len() as u64
    }

    /// Passes everything on; gives back the writer behind this one, and the digest of what passed.
    pub fn finish(mut self) -> io::Result<(W, Digested<D>)> {
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

impl<W: Write, D: Digest> Write for DigestWriter<W, D> {
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

#[cfg(test)]
mod tests {
    use ibuild_cache::{BlobId, Cancel, Sha256};

    use super::*;

    #[test]
    fn a_stream_and_a_file_agree_with_the_known_digest() {
        let mut writer = DigestWriter::<_, BlobId>::new(tempfile::NamedTempFile::new().unwrap());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(writer.position(), 3);
        let (file, digested) = writer.finish().unwrap();
        assert_eq!(digested.digest.as_bytes(), blake3::hash(b"abc").as_bytes());
        assert_eq!(Digested::of_file(file.path(), &Cancel::default()).unwrap(), digested);
    }

    #[test]
    fn portions_are_digested_in_their_order() {
        let mut digester = Digester::<Sha256>::new();
        [vec![b'a'], b"bc".to_vec()].map(Arc::new).iter().for_each(|portion| digester.update(portion));
        let digested = digester.finish();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((digested.size, digested.digest.hex().as_str()), (3, known));
        assert_eq!(digested, Digested::of_bytes(b"abc"));
    }
}
