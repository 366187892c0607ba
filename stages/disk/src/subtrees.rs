//! The BLAKE3 digest of a file by its subtrees.
//!
//! BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn: "BLAKE3, one function, fast everywhere", section 2) is a tree. What a
//! subtree comes to depends on its bytes and on its place alone. So what is known of the subtrees of one file tells whether
//! bytes in the same place of another one are the same, and they are digested once for both: for that, and for the whole.

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use ibuild_cache::BlobId;

use super::digest::Digested;

/// Bytes of a subtree, the last one aside: a power of two, as trees of BLAKE3 are divided.
pub const SUBTREE: u64 = 128 << 10;

/// What a subtree comes to.
pub type ChainingValue = blake3::hazmat::ChainingValue;

/// What these bytes come to as the subtree with this number.
pub fn chaining_value(number: u64, bytes: &[u8]) -> ChainingValue {
    hasher(number).update(bytes).finalize_non_root()
}

/// The numbers of the subtrees that lie in these bytes of a file as a whole.
pub fn whole_within(bytes: &Range<u64>) -> Range<u64> {
    let first = bytes.start.div_ceil(SUBTREE);
    first..first.max(bytes.end / SUBTREE)
}

/// The numbers of the subtrees of which these bytes of a file have any.
pub fn touched_by(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / SUBTREE..bytes.end.div_ceil(SUBTREE)
}

/// Digests a file from its beginning to its end.
pub struct TreeDigester {
    size: u64,
    /// Of the subtrees that have ended.
    values: Vec<ChainingValue>,
    /// The one that has not.
    open: Hasher,
    /// The digest if the file ends with its first subtree.
    first_alone: Option<blake3::Hash>,
}

impl TreeDigester {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self { size: 0, values: Vec::new(), open: hasher(0), first_alone: None }
    }

    /// Digests what comes next. Of the subtrees that lie in it as a whole, the first ones may have been digested.
    pub fn update(&mut self, mut bytes: &[u8], digested: &[ChainingValue]) {
        let mut digested = digested.iter();
        while !bytes.is_empty() {
            let room = SUBTREE - self.size % SUBTREE;
            let (own, behind) = bytes.split_at(bytes.len().min(room as usize));
            let known = (own.len() as u64 == SUBTREE).then(|| digested.next()).flatten();
            match known {
                // The first one may turn out to be all of the file, which comes to something else.
                Some(value) if !self.values.is_empty() => self.end_subtree(own, *value),
                _ => self.append(own),
            }
            bytes = behind;
        }
    }

    /// The digest of all that came, and what its subtrees come to.
    pub fn finish(mut self) -> (Digested<BlobId>, Vec<ChainingValue>) {
        let digest = match (self.values.len(), self.open.count()) {
            (0, _) => self.open.finalize(),
            (1, 0) => self.first_alone.expect("the first one has ended"),
            (_, 0) => root(&self.values),
            _ => {
                self.values.push(self.open.finalize_non_root());
                root(&self.values)
            }
        };
        (Digested { size: self.size, digest: BlobId::from_bytes(digest.into()) }, self.values)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.open.update(bytes);
        if self.open.count() < SUBTREE {
            self.size += bytes.len() as u64;
            return;
        }
        if self.values.is_empty() {
            self.first_alone = Some(self.open.finalize());
        }
        self.end_subtree(bytes, self.open.finalize_non_root());
    }

    fn end_subtree(&mut self, last_bytes: &[u8], value: ChainingValue) {
        self.size += last_bytes.len() as u64;
        self.values.push(value);
        self.open = hasher(self.values.len() as u64);
    }
}

fn hasher(subtree: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(subtree * SUBTREE);
    hasher
}

/// The digest of a file with these subtrees, of which there are two at least.
fn root(values: &[ChainingValue]) -> blake3::Hash {
    let (left, right) = halves(values);
    merge_subtrees_root(&merged(left), &merged(right), Mode::Hash)
}

fn merged(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
        }
    }
}

/// The left half is the largest power of two that leaves something to the right.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(1 << (values.len() - 1).ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In random portions, with some of the subtrees digested before.
    fn digested(random: &mut fastrand::Rng, bytes: &[u8]) -> (Digested<BlobId>, Vec<ChainingValue>) {
        let (mut digester, mut at) = (TreeDigester::new(), 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + random.usize(1..=3 * SUBTREE as usize));
            let whole = whole_within(&(at as u64..end as u64));
            let values =
                whole.map(|n| chaining_value(n, &bytes[(n * SUBTREE) as usize..][..SUBTREE as usize]));
            let values: Vec<_> = values.take(random.usize(0..4)).collect();
            digester.update(&bytes[at..end], &values);
            at = end;
        }
        digester.finish()
    }

    #[test]
    fn files_of_all_sizes_agree_with_the_library() {
        let mut random = fastrand::Rng::with_seed(1);
        let sizes = (0..10).flat_map(|n| [-1, 0, 1, 70_000].map(|more| n * SUBTREE as i64 + more));
        for size in sizes.filter(|size| *size >= 0) {
            let bytes: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            for _ in 0..4 {
                let (digested, values) = digested(&mut random, &bytes);
                assert_eq!(digested, Digested::of_bytes(&bytes), "{size} bytes");
                for n in whole_within(&(0..size as u64)) {
                    let own = &bytes[(n * SUBTREE) as usize..][..SUBTREE as usize];
                    assert_eq!(values[n as usize], chaining_value(n, own));
                }
            }
        }
    }

    #[test]
    fn the_place_counts() {
        let bytes = vec![7; SUBTREE as usize];
        assert_ne!(chaining_value(0, &bytes), chaining_value(1, &bytes));
    }

    #[test]
    fn subtrees_are_whole_or_touched() {
        let s = SUBTREE;
        for (bytes, whole, touched) in [
            (0..2 * s, 0..2, 0..2),
            (1..2 * s, 1..2, 0..2),
            (1..2 * s - 1, 1..1, 0..2),
            (s + 1..s + 2, 2..2, 1..2),
            (s..3 * s + 1, 1..3, 1..4),
        ] {
            assert_eq!((whole_within(&bytes), touched_by(&bytes)), (whole, touched), "{bytes:?}");
        }
    }
}
