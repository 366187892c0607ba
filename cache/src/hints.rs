//! Facts that only save time, on their way into the index.
//!
//! To make a fact durable is to wait for the disk. Nobody has to wait for one that is merely convenient: it goes with the next that
//! has to be made durable anyway, and is lost if there is none.

use std::collections::BTreeMap;

/// Rows that are visible to this process and not written yet.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    rows: BTreeMap<Vec<u8>, Hint>,
    last: u64,
}

#[derive(Debug)]
struct Hint {
    value: Vec<u8>,
    /// When it was given: a row that is given anew while it is written is not written yet.
    number: u64,
}

impl Hints {
    /// Takes a row, in place of what it had.
    pub(crate) fn put(&mut self, row: Vec<u8>, value: Vec<u8>) {
        self.last += 1;
        self.rows.insert(row, Hint { value, number: self.last });
    }

    /// The value of a row.
    pub(crate) fn get(&self, row: &[u8]) -> Option<&[u8]> {
        self.rows.get(row).map(|hint| hint.value.as_slice())
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows that begin so, in their order.
    pub(crate) fn beginning_with<'h>(
        &'h self,
        prefix: &'h [u8],
    ) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
        let from = self.rows.range(prefix.to_vec()..);
        let within = from.take_while(move |(row, _)| row.starts_with(prefix));
        within.map(|(row, hint)| (row.as_slice(), hint.value.as_slice()))
    }

    /// Forgets a row, because what has to be durable says something else of it.
    pub(crate) fn remove(&mut self, row: &[u8]) {
        self.rows.remove(row);
    }

    /// The number of the latest of them, for [`Hints::written`].
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Forgets the rows up to that number: they are in the index now.
    pub(crate) fn written(&mut self, last: u64) {
        self.rows.retain(|_, hint| hint.number > last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_given_anew_meanwhile_stays() {
        let mut hints = Hints::default();
        hints.put(b"a".into(), b"1".into());
        hints.put(b"b".into(), b"1".into());
        let last = hints.last();
        hints.put(b"b".into(), b"2".into());
        hints.written(last);
        assert_eq!((hints.get(b"a"), hints.get(b"b")), (None, Some(&b"2"[..])));
        hints.remove(b"b");
        assert!(hints.is_empty());
    }

    #[test]
    fn rows_are_found_by_how_they_begin() {
        let mut hints = Hints::default();
        for row in ["a", "ab", "abc", "b"] {
            hints.put(row.into(), row.into());
        }
        let rows: Vec<_> = hints.beginning_with(b"ab").map(|(row, _)| row).collect();
        assert_eq!(rows, [&b"ab"[..], b"abc"]);
    }
}
