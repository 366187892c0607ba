//! Entries of a directory in an order of our own, from any place in it.
//!
//! A place is a number that a program may keep for as long as it likes, and go back to. It stands for the name behind which it
//! is, whatever the directory: so reading goes on where it was when entries were removed or added meanwhile, and nothing has
//! to be known of who reads what.

use std::collections::HashMap;
use std::sync::Arc;

use crate::visible_machine::ReaddirOrder;

/// What a program is told of a file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) inode: u64,
    /// `DT_REG` and the like.
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
}

/// What decides where a name comes: first the directory itself, then the one above, then the others.
type Rank = (u8, u64);

/// Orders entries and knows their places.
pub(super) struct Places {
    order: ReaddirOrder,
    names: Vec<Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
}

/// The place in front of all entries.
const START: u64 = 0;

impl Places {
    pub(super) fn new(order: ReaddirOrder) -> Self {
        Self { order, names: Vec::new(), numbers: HashMap::new() }
    }

    /// The entries behind a place, in order. `None` if no entry was ever told to have it.
    pub(super) fn behind(&self, place: u64, entries: Vec<Entry>) -> Option<Vec<Entry>> {
        let last = match place {
            START => None,
            place => Some(self.names.get(usize::try_from(place).ok()? - 1)?),
        };
        let last = last.map(|name| (self.rank(name), name.as_ref()));
        let ranked = entries.into_iter().map(|entry| (self.rank(&entry.name), entry));
        let is_behind =
            |(rank, entry): &(Rank, Entry)| last.is_none_or(|last| (*rank, entry.name.as_slice()) > last);
        let mut left: Vec<_> = ranked.filter(is_behind).collect();
        left.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.name.cmp(&y.name)));
        Some(left.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The place behind an entry of this name.
    fn place(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let name: Arc<[u8]> = name.into();
        self.names.push(Arc::clone(&name));
        let number = u32::try_from(self.names.len()).expect("fewer names than fit into memory");
        self.numbers.insert(name, number);
        number
    }

    fn rank(&self, name: &[u8]) -> Rank {
        match (name, self.order) {
            (b".", _) => (0, 0),
            (b"..", _) => (1, 0),
            (_, ReaddirOrder::Shuffled(seed)) => (2, hash(seed, name)),
            (_, ReaddirOrder::Sorted | ReaddirOrder::AsStored) => (2, 0),
        }
    }

    /// The first of these entries, as many as fit into so many bytes. `None` if not even one fits.
    pub(super) fn fill(&mut self, format: Format, entries: &[Entry], room: usize) -> Option<Filled> {
        let (mut bytes, mut filled) = (Vec::new(), None);
        for (number, entry) in entries.iter().enumerate() {
            let end = bytes.len() + format.length(entry);
            if end > room {
                break;
            }
            let place = self.place(&entry.name);
            format.write(entry, place, &mut bytes, end);
            filled = Some((place, number + 1));
        }
        filled.map(|(place, count)| Filled { bytes, place: place.into(), count })
    }
}

/// Entries as a call writes them.
pub(super) struct Filled {
    pub(super) bytes: Vec<u8>,
    /// The place behind the last.
    pub(super) place: u64,
    /// How many they are.
    pub(super) count: usize,
}

/// How a call writes an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `getdents64`: inode, place, length, kind, name.
    Present,
    /// `getdents` of a machine with words of 64 bits: inode, place, length, name, and the kind in the last byte.
    Old,
}

impl Format {
    /// With the zero behind the name.
    fn length(self, entry: &Entry) -> usize {
        const HEAD: usize = 8 + 8 + 2;
        const KIND: usize = 1;
        (HEAD + KIND + entry.name.len() + 1).next_multiple_of(8)
    }

    fn write(self, entry: &Entry, place: u32, bytes: &mut Vec<u8>, end: usize) {
        let Entry { inode, kind, name } = entry;
        let length = end - bytes.len();
        bytes.extend_from_slice(&inode.to_le_bytes());
        bytes.extend_from_slice(&u64::from(place).to_le_bytes());
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
        bytes.extend((self == Self::Present).then_some(*kind));
        bytes.extend_from_slice(name);
        bytes.resize(end, 0);
        if self == Self::Old {
            bytes[end - 1] = *kind;
        }
    }
}

/// Where a shuffle puts a name.
fn hash(seed: u64, name: &[u8]) -> u64 {
    let hash = blake3::Hasher::new().update(&seed.to_le_bytes()).update(name).finalize();
    let first = hash.as_bytes().first_chunk().expect("a digest is longer");
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| Entry { inode: 1, kind: libc::DT_REG, name: name.as_bytes().to_vec() };
        names.iter().map(entry).collect()
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| str::from_utf8(&entry.name).unwrap()).collect()
    }

    /// Reads all, some bytes at a time, while `meanwhile` changes the directory.
    fn read(order: ReaddirOrder, all: &mut Vec<Entry>, meanwhile: impl Fn(&mut Vec<Entry>)) -> Vec<String> {
        let (mut places, mut place, mut found) = (Places::new(order), START, Vec::new());
        loop {
            let rest = places.behind(place, all.clone()).unwrap();
            if rest.is_empty() {
                return found;
            }
            let Filled { bytes, place: last, count } = places.fill(Format::Present, &rest, 64).unwrap();
            assert!((1..=2).contains(&count));
            assert!(bytes.len() <= 64);
            let mut at = 0;
            while at < bytes.len() {
                let length = u16::from_le_bytes([bytes[at + 16], bytes[at + 17]]) as usize;
                let name = bytes[at + 19..at + length].split(|byte| *byte == 0).next().unwrap();
                found.push(String::from_utf8(name.to_vec()).unwrap());
                at += length;
            }
            place = last;
            meanwhile(all);
        }
    }

    #[test]
    fn each_entry_comes_once_and_in_order() {
        let mut all = entries(&["b", "..", "!", "a", ".", "c", "zz", "z"]);
        let sorted = read(ReaddirOrder::Sorted, &mut all, |_| {});
        assert_eq!(sorted, [".", "..", "!", "a", "b", "c", "z", "zz"]);
        let shuffled = |seed| read(ReaddirOrder::Shuffled(seed), &mut all.clone(), |_| {});
        let (one, two) = (shuffled(1), shuffled(2));
        assert_eq!((&one[..2], &two[..2]), (&sorted[..2], &sorted[..2]));
        assert_ne!(one, two);
        let again = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(again(one), again(two));
    }

    #[test]
    fn what_is_removed_while_it_is_read_moves_nothing() {
        let names: Vec<_> = (0..50).map(|number| format!("name-{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for order in [ReaddirOrder::Sorted, ReaddirOrder::Shuffled(7)] {
            let whole = read(order, &mut entries(&names), |_| {});
            // What was read goes, as `rm -r` does it.
            let (read_so_far, mut left) = (std::cell::Cell::new(0), entries(&names));
            let found = read(order, &mut left, |all| {
                read_so_far.set(read_so_far.get() + 2);
                let gone: Vec<_> = whole[..read_so_far.get().min(50)].to_vec();
                all.retain(|entry| !gone.iter().any(|name| name.as_bytes() == entry.name));
            });
            assert_eq!(found, whole);
            assert!(left.is_empty());
        }
    }

    #[test]
    fn entries_are_written_as_the_kernel_does_it() {
        let mut places = Places::new(ReaddirOrder::Sorted);
        let entry = [Entry { inode: 0x0102, kind: 8, name: b"name".to_vec() }];
        let mut written = |format| places.fill(format, &entry, 100).unwrap().bytes;
        let head = [2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        assert_eq!(written(Format::Present), [&head[..], b"\x08name\0"].concat());
        assert_eq!(written(Format::Old), [&head[..], b"name\0\x08"].concat());
    }

    #[test]
    fn a_place_that_nobody_was_told_is_none() {
        let mut places = Places::new(ReaddirOrder::Sorted);
        let all = entries(&["a", "b"]);
        assert_eq!(places.behind(1, all.clone()), None);
        assert!(places.fill(Format::Present, &all, 23).is_none(), "there is no room for one");
        let last = places.fill(Format::Present, &all, 100).unwrap().place;
        assert_eq!(names(&places.behind(1, all.clone()).unwrap()), ["b"]);
        assert_eq!(places.behind(last, all), Some(Vec::new()));
        assert_eq!(names(&places.behind(last, entries(&["a", "c"])).unwrap()), ["c"]);
        assert_eq!(places.behind(u64::MAX, Vec::new()), None);
    }
}
