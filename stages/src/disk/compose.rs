//! Makes files of ropes. Grains are read from packs by several threads, ahead of what is written; and where the file is what
//! it should be already, because it was another one that differs little, nothing is written.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibuild_cache::start_writing;
use rayon::prelude::*;

use super::digest::{Digester, Digests, Portion};
use super::error::DiskError;
use super::grains::Packs;
use super::rope::{Part, Rope};

/// Bytes of a file that are looked at together.
const AT_ONCE: u64 = 4 << 20;
/// So many times [`AT_ONCE`] are in memory: what is read, what is written, and what is being digested.
const BUFFERS: usize = 5;

/// A file being made, from its beginning to its end.
pub struct Output {
    path: PathBuf,
    file: File,
    /// What is behind this was not there before.
    old_end: u64,
    /// The place of the next byte.
    at: u64,
    digester: Digester,
    buffers: Buffers,
}

impl Output {
    /// Makes the file, or writes over the one that is there. Nobody else may use that one.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(DiskError::io("create", path))?;
        let old_end = file.metadata().map_err(DiskError::io("look at", path))?.len();
        let (digester, buffers) = (Digester::new(), Buffers::default());
        Ok(Self { path: path.to_owned(), file, old_end, at: 0, digester, buffers })
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let all = 0..bytes.len();
        let new = if all.is_empty() { Vec::new() } else { vec![all] };
        self.put(&Ready { bytes: Arc::new(bytes.to_vec()), new })
    }

    /// Appends a rope. Every grain is what it was when it was packed, or this fails.
    pub fn rope(&mut self, rope: &Rope, packs: &Packs) -> Result<(), DiskError> {
        let mut ready: Option<Ready> = None;
        let batches = batches(rope).into_iter().map(Some).chain([None]);
        let mut start = self.at;
        for wanted in batches {
            let old = Old {
                file: &self.file.try_clone().map_err(DiskError::io("open", &self.path))?,
                end: self.old_end,
            };
            let buffer = self.buffers.take();
            let (written, next) = rayon::join(
                || ready.take().map_or(Ok(()), |ready| self.put(&ready)),
                || wanted.map(|parts| read(&parts, start, &old, packs, buffer)).transpose(),
            );
            written?;
            ready = next?;
            start += ready.as_ref().map_or(0, |ready| ready.bytes.len() as u64);
        }
        Ok(())
    }

    /// From here on bytes have a SHA-256 of their own as well, until [`end_member`](Self::end_member).
    pub fn begin_member(&mut self) {
        self.digester.begin_member();
    }

    /// The SHA-256 of the bytes since the member began.
    pub fn end_member(&mut self) -> [u8; 32] {
        self.digester.end_member()
    }

    /// Ends the file here, and digests it.
    pub fn finish(self) -> Result<Digests, DiskError> {
        if self.old_end > self.at {
            self.file.set_len(self.at).map_err(DiskError::io("write", &self.path))?;
        }
        Ok(self.digester.finish())
    }

    fn put(&mut self, ready: &Ready) -> Result<(), DiskError> {
        self.digester.update(&ready.bytes);
        for new in &ready.new {
            let start = self.at + new.start as u64;
            let written = self.file.write_all_at(&ready.bytes[new.clone()], start);
            written.map_err(DiskError::io("write", &self.path))?;
            start_writing(&self.file, start..start + new.len() as u64);
        }
        self.at += ready.bytes.len() as u64;
        self.buffers.used.push_back(ready.bytes.clone());
        Ok(())
    }
}

/// Memory that was used and can be used again: to get new pages from the kernel takes longer than to fill them.
#[derive(Default)]
struct Buffers {
    used: VecDeque<Portion>,
}

impl Buffers {
    /// The buffer that was used first, if it has been digested by now.
    fn take(&mut self) -> Vec<u8> {
        if self.used.len() < BUFFERS {
            return Vec::new();
        }
        self.used.pop_front().and_then(Arc::into_inner).unwrap_or_default()
    }
}

/// What the file was before.
struct Old<'o> {
    file: &'o File,
    end: u64,
}

/// Bytes of the file, and which of them are not there yet.
struct Ready {
    bytes: Portion,
    new: Vec<Range<usize>>,
}

/// Parts that follow each other.
fn batches(rope: &Rope) -> Vec<Vec<Part<'_>>> {
    let (mut batches, mut left) = (Vec::<Vec<Part<'_>>>::new(), 0);
    for part in rope.parts().flat_map(divided) {
        let length = part.length();
        match batches.last_mut() {
            Some(parts) if length <= left => parts.push(part),
            _ => {
                batches.push(vec![part]);
                left = AT_ONCE;
            }
        }
        left = left.saturating_sub(length);
    }
    batches
}

/// Many zeros in portions, because they are looked at like everything else.
fn divided(part: Part<'_>) -> impl Iterator<Item = Part<'_>> {
    let (whole, zeros) = match part {
        Part::Zeros(count) => (None, count),
        other => (Some(other), 0),
    };
    let portions = (0..zeros.div_ceil(AT_ONCE)).map(move |n| Part::Zeros((zeros - n * AT_ONCE).min(AT_ONCE)));
    whole.into_iter().chain(portions)
}

/// The bytes of parts that begin at `start`, in `buffer`: those of the file where they are right.
fn read(
    parts: &[Part<'_>],
    start: u64,
    old: &Old<'_>,
    packs: &Packs,
    mut buffer: Vec<u8>,
) -> Result<Ready, DiskError> {
    let length: u64 = parts.iter().map(Part::length).sum();
    buffer.resize(length as usize, 0);
    let mut there = old.end.saturating_sub(start).min(length) as usize;
    if old.file.read_exact_at(&mut buffer[..there], start).is_err() {
        there = 0;
    }
    let mut rest = &mut buffer[..];
    let mut at = 0;
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, behind) = rest.split_at_mut(part.length() as usize);
        at += own.len();
        places.push((part, own, at <= there));
        rest = behind;
    }
    let states = places.into_par_iter().map(|(part, own, is_there)| make(part, own, is_there, packs));
    let states = states.collect::<Result<Vec<State>, DiskError>>()?;
    let new = joined(parts.iter().map(Part::length).zip(states));
    Ok(Ready { bytes: Arc::new(buffer), new })
}

/// Whether bytes were in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Old,
    New,
}

/// Where the new bytes are, in as few ranges as they lie in.
fn joined(parts: impl Iterator<Item = (u64, State)>) -> Vec<Range<usize>> {
    let (mut new, mut at) = (Vec::<Range<usize>>::new(), 0);
    for (length, state) in parts {
        let end = at + length as usize;
        match new.last_mut() {
            _ if state == State::Old => {}
            Some(last) if last.end == at => last.end = end,
            _ => new.push(at..end),
        }
        at = end;
    }
    new
}

/// Puts the bytes of a part into `own`, unless they are there. A grain need not be read for that: it is known by its digest.
fn make(part: &Part<'_>, own: &mut [u8], is_there: bool, packs: &Packs) -> Result<State, DiskError> {
    let content;
    let wanted = match part {
        Part::Zeros(_) if is_there && own.iter().all(|byte| *byte == 0) => return Ok(State::Old),
        Part::Zeros(_) => {
            own.fill(0);
            return Ok(State::New);
        }
        Part::Stream(grain) if is_there && blake3::hash(own).as_bytes() == &grain.digest => {
            return Ok(State::Old);
        }
        Part::Bytes(bytes) => bytes,
        Part::Stream(grain) => {
            packs.read_into(grain, own)?;
            return Ok(State::New);
        }
        Part::Content(grain) => {
            content = packs.content(grain)?;
            &content[..]
        }
    };
    if is_there && own == wanted {
        return Ok(State::Old);
    }
    own.copy_from_slice(wanted);
    Ok(State::New)
}

/// Makes a file that is a rope and nothing else.
pub fn compose_file(rope: &Rope, packs: &Packs, path: &Path) -> Result<Digests, DiskError> {
    let mut out = Output::open(path)?;
    out.rope(rope, packs)?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::grains::{DiskGrains, PackedGrain};
    use crate::disk::lab::{Bench, bytes_of};
    use crate::disk::map::DiskMap;

    const MIB: u64 = 1 << 20;

    struct Lab {
        bench: Bench,
        packs: Packs,
        grains: Vec<PackedGrain>,
    }

    impl Lab {
        fn new() -> Self {
            let bench = Bench::new();
            let mut random = fastrand::Rng::with_seed(5);
            let noise: Vec<Vec<u8>> =
                (0..200).map(|_| (0..random.usize(1..60_000)).map(|_| random.u8(..)).collect()).collect();
            let map =
                DiskMap::of_bytes(256 * MIB, (0..).map(|n| n * MIB).zip(noise.iter().map(Vec::as_slice)));
            let mut packs = bench.packs(&[]);
            let DiskGrains { list, .. } = bench.collect(&map, &mut packs);
            Self { bench, packs, grains: list.iter().map(|grain| grain.packed).collect() }
        }

        /// A file of parts of all kinds.
        fn rope(&self, random: &mut fastrand::Rng) -> Rope {
            let mut rope = Rope::default();
            for _ in 0..random.usize(1..300) {
                let grain = &self.grains[random.usize(..self.grains.len())];
                match random.u8(..5) {
                    0 => rope.bytes(&vec![random.u8(..); random.usize(1..5000)]),
                    1 => rope.pad_to(rope.size() + random.u64(..9000)),
                    2 => rope.content(grain),
                    _ => rope.stream(grain),
                }
            }
            if random.u8(..4) == 0 {
                rope.pad_to(rope.size() + 2 * AT_ONCE + 5);
            }
            rope
        }
    }

    #[test]
    fn what_was_there_before_does_not_show() {
        let (lab, mut random) = (Lab::new(), fastrand::Rng::with_seed(6));
        let path = lab.bench.dir.path().join("file");
        for _ in 0..20 {
            let rope = lab.rope(&mut random);
            if random.bool() && path.exists() {
                let mut bytes = std::fs::read(&path).unwrap();
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1;
                bytes.truncate(random.usize(at..bytes.len()));
                std::fs::write(&path, bytes).unwrap();
            }
            let digests = compose_file(&rope, &lab.packs, &path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes == bytes_of(&rope, &lab.packs));
            assert_eq!(digests, Digests::of_bytes(&bytes));
        }
    }

    /// Of a file that is what it should be but for one part, that part is written and nothing is read from a pack.
    #[test]
    fn only_what_differs_is_written() {
        let lab = Lab::new();
        let path = lab.bench.dir.path().join("file");
        let mut rope = Rope::default();
        lab.grains.iter().for_each(|grain| rope.stream(grain));
        rope.bytes(b"end");
        compose_file(&rope, &lab.packs, &path).unwrap();
        let none = Packs::none(Path::new("unused"));
        let (old, end) = (File::open(&path).unwrap(), rope.size());
        let mut changed = rope.cut(0..end - 3);
        changed.bytes(b"END");
        let parts: Vec<Part<'_>> = changed.parts().collect();
        let old = Old { file: &old, end };
        let ready = read(&parts, 0, &old, &none, Vec::new()).unwrap();
        assert!(ready.new.iter().eq([&(end as usize - 3..end as usize)]));
    }

    #[test]
    fn a_buffer_is_used_again_once_it_is_digested() {
        let mut buffers = Buffers::default();
        for _ in 0..BUFFERS {
            assert!(buffers.take().capacity() == 0);
            buffers.used.push_back(Arc::new(vec![0; 100]));
        }
        let busy = buffers.used[1].clone();
        assert_eq!(buffers.take().capacity(), 100);
        buffers.used.push_back(Arc::new(vec![0; 100]));
        assert_eq!(buffers.take().capacity(), 0, "it is being digested");
        drop(busy);
    }
}
