//! Parts of a file that are looked at together: what is there already, and what has to be written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rayon::prelude::*;

use super::AT_ONCE;
use super::before::Before;
use crate::digest::Portion;
use crate::error::DiskError;
use crate::grains::{PackedGrain, Packs};
use crate::rope::{Part, Rope};
use crate::subtrees::{ChainingValue, SUBTREE, chaining_value, touched_by, whole_within};

/// What the file was before.
pub struct Old<'o> {
    pub file: &'o File,
    /// Behind this there was nothing.
    pub end: u64,
}

/// Parts that follow each other.
pub struct Batch<'r> {
    pub parts: Vec<Part<'r>>,
    /// Which bytes of the file they are.
    pub place: Range<u64>,
    /// What the subtrees in them will come to, as far as that is known.
    pub subtrees: Vec<Option<ChainingValue>>,
}

/// Bytes of the file, and which of them are not there yet.
pub struct Ready {
    pub bytes: Portion,
    pub new: Vec<Range<usize>>,
    /// What the subtrees come to that lie in the bytes as a whole.
    pub subtrees: Vec<ChainingValue>,
}

/// All parts of a rope that begins at `start`.
pub fn batches<'r>(rope: &'r Rope, mut start: u64, mut before: Option<&mut Before<'_>>) -> Vec<Batch<'r>> {
    let batches = together(rope).into_iter().map(|parts| {
        let place = start..start + parts.iter().map(Part::length).sum::<u64>();
        start = place.end;
        let subtrees = before.as_mut().map_or_else(Vec::new, |before| before.subtrees(&place, &parts));
        Batch { parts, place, subtrees }
    });
    batches.collect()
}

fn together(rope: &Rope) -> Vec<Vec<Part<'_>>> {
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

impl Batch<'_> {
    /// Their bytes, in `buffer`: those of the file where they are right.
    pub fn read(&self, old: &Old<'_>, packs: &Packs, mut buffer: Vec<u8>) -> Result<Ready, DiskError> {
        buffer.resize((self.place.end - self.place.start) as usize, 0);
        let there = self.place.start..old.end.clamp(self.place.start, self.place.end);
        // A file that cannot be read is one that is not there.
        let found = self.read_old(old.file, &there, &mut buffer);
        let (found, there) =
            found.map_or_else(|_| (Vec::new(), self.place.start), |found| (found, there.end));
        let states = self.places(&mut buffer).into_par_iter().map(|(part, place, own)| match () {
            () if self.lies_in(&found, &place) => Ok(State::Old),
            () => make(part, own, place.end <= there, packs),
        });
        let states = states.collect::<Result<Vec<State>, DiskError>>()?;
        packs.passed(read_grains(&self.parts, &states));
        let new = joined(self.parts.iter().map(Part::length).zip(states));
        let subtrees = self.all_subtrees(&found, &buffer);
        Ok(Ready { bytes: Arc::new(buffer), new, subtrees })
    }

    /// Reads what is `there` into the buffer. Tells the values of its subtrees that are there as they are to be: each is digested
    /// while the processor that read it still has it at hand.
    fn read_old(
        &self,
        file: &File,
        there: &Range<u64>,
        buffer: &mut [u8],
    ) -> io::Result<Vec<Option<ChainingValue>>> {
        let whole = whole_within(there);
        let head = (whole.start * SUBTREE).min(there.end) - there.start;
        let (head, rest) = buffer[..(there.end - there.start) as usize].split_at_mut(head as usize);
        let (middle, tail) = rest.split_at_mut(((whole.end - whole.start) * SUBTREE) as usize);
        file.read_exact_at(head, there.start)?;
        file.read_exact_at(tail, there.end - tail.len() as u64)?;
        let subtrees = middle.par_chunks_exact_mut(SUBTREE as usize).enumerate().map(|(at, bytes)| {
            let number = whole.start + at as u64;
            file.read_exact_at(bytes, number * SUBTREE)?;
            let known = self.subtrees.get(at).copied().flatten();
            Ok(known.filter(|value| chaining_value(number, bytes) == *value))
        });
        subtrees.collect()
    }

    /// The parts with their places in the file and their bytes.
    fn places<'b>(&self, mut buffer: &'b mut [u8]) -> Vec<(&Part<'_>, Range<u64>, &'b mut [u8])> {
        let mut start = self.place.start;
        let places = self.parts.iter().map(|part| {
            let place = start..start + part.length();
            start = place.end;
            (part, place, buffer.split_off_mut(..part.length() as usize).expect("as many as there are"))
        });
        places.collect()
    }

    /// Whether all of these bytes of the file are in subtrees that were found.
    fn lies_in(&self, found: &[Option<ChainingValue>], bytes: &Range<u64>) -> bool {
        let first = whole_within(&self.place).start;
        let is_found = |n: u64| n.checked_sub(first).and_then(|n| found.get(n as usize)?.as_ref()).is_some();
        touched_by(bytes).all(is_found)
    }

    /// The values of all subtrees, now that all bytes are what they are to be. Those that were found are still.
    fn all_subtrees(&self, found: &[Option<ChainingValue>], bytes: &[u8]) -> Vec<ChainingValue> {
        let whole = whole_within(&self.place);
        let first = whole.start;
        let value = |n: u64| match found.get((n - first) as usize) {
            Some(Some(value)) => *value,
            _ => chaining_value(n, self.subtree(n, bytes)),
        };
        whole.into_par_iter().map(value).collect()
    }

    fn subtree<'b>(&self, number: u64, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[(number * SUBTREE - self.place.start) as usize..][..SUBTREE as usize]
    }
}

/// Whether bytes were in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Old,
    New,
}

/// The grains that had to be read.
fn read_grains<'g>(parts: &'g [Part<'_>], states: &'g [State]) -> impl Iterator<Item = &'g PackedGrain> {
    parts.iter().zip(states).filter_map(|(part, state)| match (part, state) {
        (Part::Stream(grain) | Part::Content(grain), State::New) => Some(*grain),
        _ => None,
    })
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
