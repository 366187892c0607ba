//! What the file was made of when it was last made: much of the new one is the same.
//!
//! Where the new file has the same parts in the same place, the expected digest of the subtree is known
//! (`subtrees.rs`). If the existing bytes match it, they are reused, and the digest goes into that of
//! the whole file. Other parts are compared one by one.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::rope::{Part, Rope};
use crate::rows;
use crate::subtrees::{ChainingValue, touched_by, whole_within};

/// What a file is made of, and what its digest is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its parts.
    pub rope: Rope,
    /// What its subtrees come to.
    #[serde(with = "rows")]
    pub subtrees: Vec<ChainingValue>,
}

impl Made {
    /// The same file with its packs in other places.
    pub fn with_packs(self, place: impl Fn(u32) -> u32) -> Self {
        Self { rope: self.rope.with_packs(place), ..self }
    }
}

/// Walks along the last file, beside the new one.
pub struct Before<'m> {
    parts: Box<dyn Iterator<Item = Part<'m>> + Send + 'm>,
    /// The part that begins at `at`.
    part: Option<Part<'m>>,
    at: u64,
    subtrees: &'m [ChainingValue],
}

impl<'m> Before<'m> {
    /// From the beginning on.
    pub fn new(made: &'m Made) -> Self {
        let mut parts = Box::new(made.rope.parts());
        Self { part: parts.next(), parts, at: 0, subtrees: &made.subtrees }
    }

    /// What those subtrees come to that lie in these parts of the new file as a whole. Of those that have anything else than in
    /// the last file it is not known. `place` is where the parts are, behind the one before.
    pub fn subtrees(&mut self, place: &Range<u64>, parts: &[Part<'_>]) -> Vec<Option<ChainingValue>> {
        let whole = whole_within(place);
        let mut known: Vec<_> = whole.clone().map(|n| self.subtrees.get(n as usize).copied()).collect();
        let mut at = place.start;
        for part in parts {
            let end = at + part.length();
            if !self.has(at, part) {
                let touched = touched_by(&(at..end));
                let other = touched.start.max(whole.start)..touched.end.min(whole.end);
                other.for_each(|n| known[(n - whole.start) as usize] = None);
            }
            at = end;
        }
        known
    }

    /// Whether the last file has the same part in this place.
    fn has(&mut self, at: u64, part: &Part<'_>) -> bool {
        while let Some(last) = self.part
            && self.at < at
        {
            self.at += last.length();
            self.part = self.parts.next();
        }
        self.at == at && self.part.as_ref() == Some(part)
    }
}
