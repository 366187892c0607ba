//! Long lists in records, as rows of one length in one field of bytes.
//!
//! What an image is made of has some hundred thousand values. To visit them one by one, and each byte of their digests, takes longer than to
//! read them from a disk.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// A value that takes as many bytes as any other of its kind.
pub trait Row: Sized {
    /// Their number.
    const LENGTH: usize;

    /// Appends the bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// The value, if these bytes are one.
    fn read(row: &[u8]) -> Option<Self>;
}

/// For fields with `#[serde(with = "...")]`: writes the rows.
pub fn serialize<R: Row, S: Serializer>(rows: &[R], out: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(rows.len() * R::LENGTH);
    rows.iter().for_each(|row| row.write(&mut bytes));
    assert_eq!(bytes.len(), rows.len() * R::LENGTH, "rows are of one length");
    out.serialize_bytes(&bytes)
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, R: Row, D: Deserializer<'de>>(from: D) -> Result<Vec<R>, D::Error> {
    from.deserialize_bytes(Rows(PhantomData))
}

struct Rows<R>(PhantomData<R>);

impl<R: Row> Visitor<'_> for Rows<R> {
    type Value = Vec<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {} bytes", R::LENGTH)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<R>, E> {
        let (rows, rest) = (bytes.chunks_exact(R::LENGTH), bytes.len() % R::LENGTH);
        let read: Option<Vec<R>> = rows.map(R::read).collect();
        read.filter(|_| rest == 0).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Bytes(bytes), &self))
    }
}

impl Row for [u8; 32] {
    const LENGTH: usize = 32;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(row: &[u8]) -> Option<Self> {
        row.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::Record;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// An even number.
    #[derive(Debug, PartialEq)]
    struct Even(u8);

    impl Row for Even {
        const LENGTH: usize = 2;

        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&[self.0, 7]);
        }

        fn read(row: &[u8]) -> Option<Self> {
            row[0].is_multiple_of(2).then_some(Self(row[0]))
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct List(#[serde(with = "crate::rows")] Vec<Even>);

    impl Record for List {
        const SCHEMA: u16 = 1;
    }

    /// The same bytes with another field.
    #[derive(Serialize, Deserialize)]
    struct Bytes(#[serde(with = "ibuild_cache::whole_bytes")] Vec<u8>);

    impl Record for Bytes {
        const SCHEMA: u16 = 1;
    }

    #[test]
    fn rows_come_back() {
        for list in [vec![], vec![Even(4), Even(0)]] {
            let list = List(list);
            assert_eq!(List::from_bytes(&list.to_bytes()), Some(list));
        }
        assert_eq!(List(vec![Even(4)]).to_bytes(), Bytes(vec![4, 7]).to_bytes());
    }

    #[test]
    fn half_a_row_is_none_and_neither_is_one_that_means_nothing() {
        let read = |bytes: &[u8]| List::from_bytes(&Bytes(bytes.to_vec()).to_bytes());
        assert_eq!(read(&[4, 7]), Some(List(vec![Even(4)])));
        assert_eq!(read(&[4, 7, 4]), None);
        assert_eq!(read(&[4, 7, 5, 7]), None);
    }
}
