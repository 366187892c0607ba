//! Makes files of ropes. Grains are read from packs by several threads, ahead of what is written; and where the file is what
//! it should be already, because it was another one that differs little, nothing is written.

mod batch;
mod before;
mod seed_copy;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibuild_cache::{BlobId, DropBehind, Sha256, fits_in_memory, is_in_memory, start_writing};

use super::digest::{Digested, Digester, Portion};
use super::error::DiskError;
use super::grains::Packs;
use super::rope::Rope;
use super::subtrees::{ChainingValue, TreeDigester};
use batch::{Old, Ready, batches};
use before::Before;
use seed_copy::SeedCopy;

pub use before::Made;

/// Bytes of a file that are looked at together.
const AT_ONCE: u64 = 2 << 20;
/// So many times [`AT_ONCE`] are in memory: what is read, what is written, and what is being digested.
const BUFFERS: usize = 5;

/// Where a file is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The file. One that is there already is written over, so nobody else may use it.
    pub file: &'a Path,
    /// A new file that gets the same bytes, if the disk has room for both.
    pub seed_copy: Option<&'a Path>,
    /// What such a file was made of when it was last made. What is the same need not be looked at part by part in `file`.
    pub before: Option<&'a Made>,
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for Destination<'a> {
    fn from(file: &'a P) -> Self {
        Self { file: file.as_ref(), seed_copy: None, before: None }
    }
}

/// A file being made, from its beginning to its end.
pub struct Output<'m> {
    path: PathBuf,
    file: File,
    seed_copy: Option<SeedCopy>,
    /// What is behind this was not there before.
    old_end: u64,
    /// The place of the next byte.
    at: u64,
    digester: TreeDigester,
    before: Option<Before<'m>>,
    /// Of the member that began and has not ended.
    member: Option<Digester<Sha256>>,
    buffers: Buffers,
    /// What of an old file has passed does not stay in memory, unless it was there before or fits in.
    behind: Option<DropBehind>,
}

impl<'m> Output<'m> {
    /// Makes the file, or writes over the one that is there.
    pub fn open(destination: Destination<'m>) -> Result<Self, DiskError> {
        let path = destination.file;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(DiskError::io("create", path))?;
        let old_end = file.metadata().map_err(DiskError::io("look at", path))?.len();
        let seed_copy = destination.seed_copy.map(SeedCopy::create).transpose()?;
        let before = destination.before.map(Before::new);
        let (digester, buffers) = (TreeDigester::new(), Buffers::default());
        let passes = old_end > 0 && !is_in_memory(&file, old_end) && !fits_in_memory(old_end);
        let behind = passes.then(DropBehind::default);
        let path = path.to_owned();
        Ok(Self { path, file, seed_copy, old_end, at: 0, digester, before, member: None, buffers, behind })
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let all = 0..bytes.len();
        let new = if all.is_empty() { Vec::new() } else { vec![all] };
        self.put(&Ready { bytes: Arc::new(bytes.to_vec()), new, subtrees: Vec::new() })
    }

    /// Appends a rope. Every grain is what it was when it was packed, or this fails.
    pub fn rope(&mut self, rope: &Rope, packs: &Packs) -> Result<(), DiskError> {
        let mut ready: Option<Ready> = None;
        let batches = batches(rope, self.at, self.before.as_mut());
        for batch in batches.into_iter().map(Some).chain([None]) {
            let old = Old {
                file: &self.file.try_clone().map_err(DiskError::io("open", &self.path))?,
                end: self.old_end,
            };
            let buffer = self.buffers.take();
            packs.check()?;
            let (written, next) = rayon::join(
                || ready.take().map_or(Ok(()), |ready| self.put(&ready)),
                || batch.map(|batch| batch.read(&old, packs, buffer)).transpose(),
            );
            written?;
            ready = next?;
        }
        Ok(())
    }

    /// From here on bytes have a SHA-256 as well, until [`end_member`](Self::end_member).
    pub fn begin_member(&mut self) {
        self.member = Some(Digester::new());
    }

    /// The SHA-256 of the bytes since the member began.
    ///
    /// # Panics
    ///
    /// If none did.
    pub fn end_member(&mut self) -> Sha256 {
        self.member.take().expect("a member began").finish().digest
    }

    /// Ends the file here. Tells its digest, and what its subtrees come to.
    pub fn finish(self) -> Result<(Digested<BlobId>, Vec<ChainingValue>), DiskError> {
        if self.old_end > self.at {
            self.file.set_len(self.at).map_err(DiskError::io("write", &self.path))?;
        }
        Ok(self.digester.finish())
    }

    fn put(&mut self, ready: &Ready) -> Result<(), DiskError> {
        self.digester.update(&ready.bytes, &ready.subtrees);
        if let Some(member) = &mut self.member {
            member.update(&ready.bytes);
        }
        let (file, seed_copy, at) = (&self.file, &mut self.seed_copy, self.at);
        let write_new = || {
            ready.new.iter().try_for_each(|new| write(file, at + new.start as u64, &ready.bytes[new.clone()]))
        };
        let (mut written, ()) = rayon::join(write_new, || SeedCopy::put(seed_copy, at, &ready.bytes));
        if written.is_err() && SeedCopy::give_up(seed_copy) {
            written = write_new();
        }
        written.map_err(DiskError::io("write", &self.path))?;
        let end = at + ready.bytes.len() as u64;
        if let Some(behind) = &mut self.behind {
            behind.passed(&self.file, at..end);
        }
        self.at = end;
        self.buffers.used.push_back(ready.bytes.clone());
        Ok(())
    }
}

fn write(file: &File, start: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, start)?;
    start_writing(file, start..start + bytes.len() as u64);
    Ok(())
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

/// Makes a file that is a rope and nothing else. Tells its digest, and what its subtrees come to.
pub fn compose_file<'a>(
    rope: &Rope,
    packs: &Packs,
    destination: impl Into<Destination<'a>>,
) -> Result<(Digested<BlobId>, Vec<ChainingValue>), DiskError> {
    let mut out = Output::open(destination.into())?;
    out.rope(rope, packs)?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::batch::Batch;
    use super::*;
    use crate::grains::{DiskGrains, PackedGrain};
    use crate::lab::{Bench, bytes_of};
    use crate::map::DiskMap;
    use crate::rope::Part;
    use crate::subtrees::SUBTREE;

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

        /// The same file but for a few parts.
        fn edited(&self, random: &mut fastrand::Rng, rope: &Rope) -> Rope {
            let mut made = Rope::default();
            for part in rope.parts() {
                match (random.u8(..100), part) {
                    (0, _) => made.stream(random.choice(&self.grains).unwrap()),
                    (1, Part::Bytes(bytes)) => made.bytes(&vec![random.u8(..); bytes.len()]),
                    _ => made.push(part),
                }
            }
            made
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

    /// Neither in the file nor of what is known of it, whether that is of this file, of an earlier one, or of one that was damaged.
    #[test]
    fn what_was_there_before_does_not_show() {
        let (lab, mut random) = (Lab::new(), fastrand::Rng::with_seed(6));
        let path = lab.bench.dir.path().join("file");
        let mut made: Vec<Made> = Vec::new();
        for _ in 0..40 {
            let rope = match random.choice(&made) {
                Some(made) if random.u8(..4) > 0 => lab.edited(&mut random, &made.rope),
                _ => lab.rope(&mut random),
            };
            if random.bool() && path.exists() {
                let mut bytes = std::fs::read(&path).unwrap();
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1;
                bytes.truncate(random.usize(at..bytes.len()));
                std::fs::write(&path, bytes).unwrap();
            }
            let before = random.choice(&made);
            let (digested, subtrees) =
                compose_file(&rope, &lab.packs, Destination { before, ..(&path).into() }).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes == bytes_of(&rope, &lab.packs));
            assert_eq!(digested, Digested::of_bytes(&bytes));
            made.push(Made { rope, subtrees });
        }
    }

    /// What is known by its subtree is not digested part by part: here the parts' own digests are wrong.
    #[test]
    fn what_is_the_same_as_before_is_digested_once() {
        let lab = Lab::new();
        let path = lab.bench.dir.path().join("file");
        let rope = |grains: &mut dyn Iterator<Item = PackedGrain>| {
            let mut rope = Rope::default();
            grains.for_each(|grain| rope.stream(&grain));
            rope.pad_to(rope.size().next_multiple_of(SUBTREE));
            rope
        };
        let some = lab.grains[..40].iter();
        let right = rope(&mut some.clone().copied());
        let wrong = rope(&mut some.map(|grain| PackedGrain { digest: [0; 32], ..*grain }));
        let (digested, subtrees) = compose_file(&right, &lab.packs, &path).unwrap();
        let before = Made { rope: wrong.clone(), subtrees };
        let old = Old { file: &File::open(&path).unwrap(), end: digested.size };
        let read = |before: Option<&mut Before<'_>>| {
            let batches = batches(&wrong, 0, before);
            assert_eq!(batches.len(), 1);
            batches[0].read(&old, &lab.packs, Vec::new())
        };
        assert!(read(Some(&mut Before::new(&before))).unwrap().new.is_empty());
        assert!(read(None).is_err());
    }

    /// Not a part of it is believed, and what was read of it does not show.
    #[test]
    fn a_file_that_ends_too_early_is_one_that_is_not_there() {
        let lab = Lab::new();
        let path = lab.bench.dir.path().join("file");
        let mut rope = Rope::default();
        lab.grains.iter().for_each(|grain| rope.stream(grain));
        let (_, subtrees) = compose_file(&rope, &lab.packs, &path).unwrap();
        let made = Made { rope: rope.clone(), subtrees };
        let whole = std::fs::read(&path).unwrap();
        let batch = &batches(&rope, 0, Some(&mut Before::new(&made)))[0];
        let length = batch.place.end as usize;
        File::options().write(true).open(&path).unwrap().set_len(batch.place.end - 1).unwrap();
        let old = Old { file: &File::open(&path).unwrap(), end: rope.size() };
        let ready = batch.read(&old, &lab.packs, Vec::new()).unwrap();
        assert!(*ready.bytes == whole[..length]);
        assert!(ready.new.iter().eq([&(0..length)]));
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
        let old = Old { file: &old, end };
        let batch = Batch { parts: changed.parts().collect(), place: 0..end, subtrees: Vec::new() };
        let ready = batch.read(&old, &none, Vec::new()).unwrap();
        assert!(ready.new.iter().eq([&(end as usize - 3..end as usize)]));
    }

    #[test]
    fn a_seed_copy_has_the_same_bytes() {
        let (lab, mut random) = (Lab::new(), fastrand::Rng::with_seed(7));
        let (file, seed_copy) = (lab.bench.dir.path().join("file"), lab.bench.dir.path().join("seed_copy"));
        let rope = lab.rope(&mut random);
        compose_file(
            &rope,
            &lab.packs,
            Destination { file: &file, seed_copy: Some(&seed_copy), before: None },
        )
        .unwrap();
        assert!(std::fs::read(&file).unwrap() == bytes_of(&rope, &lab.packs));
        assert!(std::fs::read(&seed_copy).unwrap() == bytes_of(&rope, &lab.packs));
    }

    /// A file that may not be written stands for a full disk: where the seed copy has no room it goes, and where the file has none,
    /// the seed copy goes first.
    #[test]
    fn a_seed_copy_is_not_worth_a_failure() {
        let (lab, mut random) = (Lab::new(), fastrand::Rng::with_seed(8));
        let (file, seed_copy) = (lab.bench.dir.path().join("file"), lab.bench.dir.path().join("seed_copy"));
        let rope = lab.rope(&mut random);
        for full in [&seed_copy, &file] {
            let mut out =
                Output::open(Destination { file: &file, seed_copy: Some(&seed_copy), before: None }).unwrap();
            let read_only = File::open(full).unwrap();
            if full == &seed_copy {
                out.seed_copy.as_mut().unwrap().file = read_only;
            } else {
                out.file = read_only;
            }
            assert_eq!(out.rope(&rope, &lab.packs).is_ok(), full == &seed_copy);
            assert!(out.seed_copy.is_none() && !seed_copy.exists());
            std::fs::remove_file(&file).unwrap();
        }
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
