//! Hands out the blocks that the geometry leaves, whole grains at a time, from the front.

use std::collections::VecDeque;
use std::ops::Range;

use super::geometry::{GRAIN_BLOCKS, Geometry};

/// The blocks that nobody has yet.
#[derive(Debug, Clone)]
pub struct Space {
    free: VecDeque<Range<u64>>,
}

/// There are not enough blocks or inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Blocks.
    Blocks,
    /// Inodes.
    Inodes,
}

impl Space {
    /// All grains of which the geometry takes nothing.
    pub fn of(geometry: &Geometry) -> Self {
        let (mut free, mut at) = (VecDeque::new(), 0);
        let end = geometry.blocks / GRAIN_BLOCKS * GRAIN_BLOCKS;
        for taken in geometry.taken() {
            free.push_back(at..taken.start / GRAIN_BLOCKS * GRAIN_BLOCKS);
            at = taken.end.next_multiple_of(GRAIN_BLOCKS);
        }
        free.push_back(at..end);
        free.retain(|range| range.start < range.end);
        Self { free }
    }

    /// The next blocks, rounded up to grains.
    pub fn take(&mut self, blocks: u64) -> Result<Supply, Full> {
        let mut left = blocks.next_multiple_of(GRAIN_BLOCKS);
        let mut taken = VecDeque::new();
        while left > 0 {
            let range = self.free.front_mut().ok_or(Full::Blocks)?;
            let length = left.min(range.end - range.start);
            taken.push_back(range.start..range.start + length);
            range.start += length;
            left -= length;
            if range.is_empty() {
                self.free.pop_front();
            }
        }
        Ok(Supply(taken))
    }

    /// Leaves out blocks, as far as there are any.
    pub fn skip(&mut self, blocks: u64) {
        let there = self.free.iter().map(|range| range.end - range.start).sum::<u64>();
        let _ = self.take(blocks.min(there)).expect("no more than there is");
    }
}

/// Blocks that were taken, to be used in order.
#[derive(Debug, Clone)]
pub struct Supply(VecDeque<Range<u64>>);

impl Supply {
    /// The next blocks, in as few pieces as they lie in.
    ///
    /// # Panics
    ///
    /// If fewer were taken: whoever takes has counted.
    pub fn next(&mut self, mut blocks: u64) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        while blocks > 0 {
            let range = self.0.front_mut().expect("no more is used than was taken");
            let length = blocks.min(range.end - range.start);
            pieces.push(range.start..range.start + length);
            range.start += length;
            blocks -= length;
            if range.is_empty() {
                self.0.pop_front();
            }
        }
        pieces
    }

    /// The next block.
    pub fn one(&mut self) -> u64 {
        self.next(1)[0].start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grains_are_whole_and_never_given_twice() {
        let geometry = Geometry::new(300 << 20, 8192).unwrap();
        let mut space = Space::of(&geometry);
        let mut seen: Vec<Range<u64>> = geometry.taken();
        while let Ok(mut supply) = space.take(1000) {
            let pieces = supply.next(1008);
            assert!(pieces.iter().all(|piece| piece.start.is_multiple_of(GRAIN_BLOCKS)));
            seen.extend(pieces);
        }
        seen.sort_by_key(|range| range.start);
        assert!(seen.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert_eq!(space.take(2000).unwrap_err(), Full::Blocks);
    }
}
