//! Parts of a file that are looked at together: what is there already, and what has to be written.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rayon::prelude::*;

use super::AT_ONCE;
use crate::disk::digest::Portion;
use crate::disk::error::DiskError;
use crate::disk::grains::{PackedGrain, Packs};
use crate::disk::rope::{Part, Rope};

/// What the file was before.
pub struct Old<'o> {
    pub file: &'o File,
    /// Behind this there was nothing.
    pub end: u64,
}

/// Bytes of the file, and which of them are not there yet.
pub struct Ready {
    pub bytes: Portion,
    pub new: Vec<Range<usize>>,
}

/// Parts that follow each other.
pub fn batches(rope: &Rope) -> Vec<Vec<Part<'_>>> {
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
pub fn read(
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
    packs.passed(read_grains(parts, &states));
    let new = joined(parts.iter().map(Part::length).zip(states));
    Ok(Ready { bytes: Arc::new(buffer), new })
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
