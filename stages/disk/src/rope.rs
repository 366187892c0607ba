//! A file as a sequence of parts, most of which lie elsewhere: what an image costs to keep is what no other one has.

use std::ops::Range;

use ibuild_cache::whole_bytes;
use serde::{Deserialize, Serialize};

use super::grains::{GRAIN, PackedGrain};
use super::rows::{self, Row};

/// A file as a sequence of parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rope {
    size: u64,
    #[serde(with = "rows")]
    strands: Vec<Strand>,
    /// The bytes of all [`Strand::Bytes`], one behind the other.
    #[serde(with = "whole_bytes")]
    bytes: Vec<u8>,
    /// The grains of [`Strand::Stream`] and [`Strand::Content`], in their order.
    #[serde(with = "rows")]
    grains: Vec<PackedGrain>,
}

/// The kind of a part. There are several for each grain, so what they are of is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strand {
    Bytes(u32),
    Zeros(u64),
    Stream,
    Content,
}

impl Row for Strand {
    const LENGTH: usize = 9;

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, length) = match self {
            Self::Bytes(length) => (0, u64::from(*length)),
            Self::Zeros(count) => (1, *count),
            Self::Stream => (2, 0),
            Self::Content => (3, 0),
        };
        out.push(kind);
        out.extend_from_slice(&length.to_le_bytes());
    }

    fn read(row: &[u8]) -> Option<Self> {
        let (kind, length) = row.split_first()?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        match (kind, length) {
            (0, length) => Some(Self::Bytes(length.try_into().ok()?)),
            (1, count) => Some(Self::Zeros(count)),
            (2, 0) => Some(Self::Stream),
            (3, 0) => Some(Self::Content),
            _ => None,
        }
    }
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'r> {
    /// These bytes.
    Bytes(&'r [u8]),
    /// So many zeros.
    Zeros(u64),
    /// The compressed bytes of a grain.
    Stream(&'r PackedGrain),
    /// The bytes of a grain as they are on the disk.
    Content(&'r PackedGrain),
}

impl Part<'_> {
    /// The number of its bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(count) => *count,
            Self::Stream(grain) => grain.length.into(),
            Self::Content(_) => GRAIN,
        }
    }

    /// The part from the byte `start` on up to `end`.
    ///
    /// # Panics
    ///
    /// If that is only some of a grain.
    fn within(self, range: Range<u64>) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(&bytes[range.start as usize..range.end as usize]),
            Self::Zeros(_) => Self::Zeros(range.end - range.start),
            Self::Stream(_) | Self::Content(_) => {
                assert_eq!(range, 0..self.length(), "a grain is not divided");
                self
            }
        }
    }
}

impl Rope {
    /// The bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The grains in it, in order; some may be there more than once.
    pub fn grains(&self) -> &[PackedGrain] {
        &self.grains
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some(Strand::Bytes(length)) = self.strands.last_mut()
            && let Some(sum) = length.checked_add(bytes.len() as u32)
        {
            *length = sum;
        } else {
            self.strands.push(Strand::Bytes(bytes.len() as u32));
        }
        self.bytes.extend_from_slice(bytes);
        self.size += bytes.len() as u64;
    }

    /// Appends zeros up to this position.
    pub fn pad_to(&mut self, position: u64) {
        self.push(Part::Zeros(position - self.size));
    }

    /// Appends the compressed bytes of a grain.
    pub fn stream(&mut self, grain: &PackedGrain) {
        self.push(Part::Stream(grain));
    }

    /// Appends the bytes of a grain as they are on the disk.
    pub fn content(&mut self, grain: &PackedGrain) {
        self.push(Part::Content(grain));
    }

    /// Appends a part.
    pub fn push(&mut self, part: Part<'_>) {
        match part {
            Part::Zeros(0) => return,
            Part::Bytes(bytes) => return self.bytes(bytes),
            Part::Zeros(count) => self.strands.push(Strand::Zeros(count)),
            Part::Stream(grain) => {
                self.strands.push(Strand::Stream);
                self.grains.push(*grain);
            }
            Part::Content(grain) => {
                self.strands.push(Strand::Content);
                self.grains.push(*grain);
            }
        }
        self.size += part.length();
    }

    /// Its parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (mut bytes, mut grains) = (&self.bytes[..], self.grains.iter());
        self.strands.iter().map(move |strand| match strand {
            Strand::Bytes(length) => {
                Part::Bytes(bytes.split_off(..*length as usize).expect("as many as came"))
            }
            Strand::Zeros(count) => Part::Zeros(*count),
            Strand::Stream => Part::Stream(grains.next().expect("one for each strand")),
            Strand::Content => Part::Content(grains.next().expect("one for each strand")),
        })
    }

    /// The parts of these bytes of the file, which neither begin nor end within a grain.
    pub fn cut(&self, range: Range<u64>) -> Rope {
        let (mut made, mut at) = (Rope::default(), 0);
        for part in self.parts() {
            let (start, end) = (at, at + part.length());
            at = end;
            if start < range.end && range.start < end {
                made.push(part.within(range.start.max(start) - start..range.end.min(end) - start));
            }
        }
        made
    }

    /// The same file with its packs in other places.
    pub fn with_packs(mut self, place: impl Fn(u32) -> u32) -> Rope {
        self.grains.iter_mut().for_each(|grain| grain.pack = place(grain.pack));
        self
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::Record;

    use super::*;
    use crate::grains::plan;
    use crate::map::DiskMap;

    fn grain(pack: u32) -> PackedGrain {
        let key = plan(&DiskMap::of_bytes(GRAIN, [(0, b"x".as_slice())]))[0].key;
        PackedGrain { key, pack, offset: 7, length: 100, digest: [1; 32] }
    }

    fn rope() -> Rope {
        let mut rope = Rope::default();
        rope.bytes(b"he");
        rope.bytes(b"ad");
        rope.pad_to(10);
        rope.stream(&grain(3));
        rope.pad_to(110);
        rope.bytes(b"between");
        rope.content(&grain(4));
        rope.pad_to(70_000);
        rope
    }

    #[test]
    fn parts_come_back_in_order() {
        let rope = rope();
        assert_eq!(rope.size(), 70_000);
        let (stream, content) = (grain(3), grain(4));
        let expected = [
            Part::Bytes(b"head"),
            Part::Zeros(6),
            Part::Stream(&stream),
            Part::Bytes(b"between"),
            Part::Content(&content),
            Part::Zeros(70_000 - 117 - GRAIN),
        ];
        assert_eq!(rope.parts().collect::<Vec<_>>(), expected);
        assert_eq!(rope.grains(), [stream, content]);
    }

    #[test]
    fn what_is_cut_out_is_what_is_there() {
        let cut = rope().cut(2..112);
        assert_eq!(cut.size(), 110);
        let stream = grain(3);
        let expected = [Part::Bytes(b"ad"), Part::Zeros(6), Part::Stream(&stream), Part::Bytes(b"be")];
        assert_eq!(cut.parts().collect::<Vec<_>>(), expected);
        assert_eq!(rope().cut(0..70_000), rope());
        assert_eq!(rope().cut(10..10), Rope::default());
    }

    #[test]
    #[should_panic(expected = "a grain is not divided")]
    fn a_grain_is_not_cut() {
        let _ = rope().cut(0..50);
    }

    /// As a record has it.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept(Rope);

    impl Record for Kept {
        const SCHEMA: u16 = 1;
    }

    #[test]
    fn a_rope_comes_back_from_a_record() {
        let kept = Kept(rope());
        let bytes = kept.to_bytes();
        assert_eq!(Kept::from_bytes(&bytes), Some(kept));
        // The kinds of strands are behind the size and the length of their rows.
        assert_eq!(bytes[19], 0, "bytes come first");
        for kind in 1..=4 {
            let mut bytes = bytes.clone();
            bytes[19] = kind;
            assert_eq!(Kept::from_bytes(&bytes).is_some(), kind == 1, "{kind}");
        }
    }

    #[test]
    fn packs_move() {
        let moved = rope().with_packs(|place| place + 10);
        assert_eq!(moved.grains().iter().map(|grain| grain.pack).collect::<Vec<_>>(), [13, 14]);
        assert_eq!(moved.size(), 70_000);
    }
}
