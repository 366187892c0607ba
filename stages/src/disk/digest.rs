//! Counts and digests bytes on their way into a file, or while they are read back.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use ibuild_cache::{DropBehind, is_in_memory};
use sha2::{Digest, Sha256};

use super::error::DiskError;
use super::sha256::MemberSha256;

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

    /// Reads the file and digests it. Even its holes would take up memory, if they stayed there.
    pub fn of_file(path: &Path) -> Result<Digests, DiskError> {
        let file = File::open(path).map_err(DiskError::io("open", path))?;
        let size = file.metadata().map_err(DiskError::io("look at", path))?.len();
        let mut behind = (!is_in_memory(&file, size)).then(DropBehind::default);
        let mut digester = Digester::new();
        for start in (0..size).step_by(PORTION) {
            let end = size.min(start + PORTION as u64);
            let mut portion = vec![0; (end - start) as usize];
            file.read_exact_at(&mut portion, start).map_err(DiskError::io("read", path))?;
            digester.update(&Arc::new(portion));
            if let Some(behind) = &mut behind {
                behind.passed(&file, start..end);
            }
        }
        Ok(digester.finish())
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes on their way to threads that digest them.
pub type Portion = Arc<Vec<u8>>;

/// Digests bytes that come in portions, which threads of its own do, one for each algorithm. Nothing is copied.
pub struct Digester {
    size: u64,
    blake3: Hashing<Portion>,
    sha256: Hashing<Step>,
    members: Receiver<[u8; 32]>,
}

/// Portions that wait for a thread at most.
const AHEAD: usize = 2;

impl Digester {
    /// Starts with no bytes.
    pub fn new() -> Self {
        let (ended, members) = channel();
        let blake3 = Hashing::start(|portions| blake3_of(&portions));
        let sha256 = Hashing::start(move |steps| sha256_of(&steps, &ended));
        Self { size: 0, blake3, sha256, members }
    }

    /// Number of bytes that have come.
    pub fn position(&self) -> u64 {
        self.size
    }

    /// Digests what comes next.
    pub fn update(&mut self, portion: &Portion) {
        self.size += portion.len() as u64;
        self.blake3.send(portion.clone());
        self.sha256.send(Step::Bytes(portion.clone()));
    }

    /// From here on bytes have a SHA-256 of their own as well, until [`end_member`](Self::end_member).
    ///
    /// # Panics
    ///
    /// Here or later, if the bytes so far are not a multiple of 64, as they are in a tar.
    pub fn begin_member(&mut self) {
        self.sha256.send(Step::BeginMember);
    }

    /// The SHA-256 of the bytes since the member began.
    ///
    /// # Panics
    ///
    /// If none did.
    pub fn end_member(&mut self) -> [u8; 32] {
        self.sha256.send(Step::EndMember);
        self.members.recv().expect("a member began")
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

/// What happens next to the stream whose SHA-256 is wanted.
enum Step {
    Bytes(Portion),
    BeginMember,
    EndMember,
}

/// A thread that digests what it is sent.
struct Hashing<T> {
    steps: SyncSender<T>,
    thread: JoinHandle<[u8; 32]>,
}

impl<T: Send + 'static> Hashing<T> {
    fn start(digest: impl FnOnce(Receiver<T>) -> [u8; 32] + Send + 'static) -> Self {
        let (steps, received) = sync_channel(AHEAD);
        Self { steps, thread: std::thread::spawn(move || digest(received)) }
    }

    fn send(&self, step: T) {
        self.steps.send(step).expect("the thread ends after the last step");
    }

    fn finish(self) -> [u8; 32] {
        drop(self.steps);
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

fn sha256_of(steps: &Receiver<Step>, ended: &Sender<[u8; 32]>) -> [u8; 32] {
    let mut sha256 = MemberSha256::new();
    for step in steps {
        match step {
            Step::Bytes(portion) => sha256.update(&portion),
            Step::BeginMember => sha256.begin_member(),
            // Nobody waits for it any more where writing has failed.
            Step::EndMember => drop(ended.send(sha256.end_member())),
        }
    }
    sha256.finish()
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
            [vec![b'-'; 512], b"mem".repeat(1000), b"ber".to_vec(), b"after".to_vec()].map(Arc::new);
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
