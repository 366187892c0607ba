//! Facts about content, behind a trait so that tests need no database.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::{CacheError, Record};

/// Declares the tables once: the kinds, the list of all of them, and what their numbers stand for cannot differ.
macro_rules! tables {
    ($($(#[$doc:meta])+ $name:ident = $number:literal,)+) => {
        /// The kinds of facts. The numbers are on disk: never reuse or change one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Table {
            $($(#[$doc])+ $name = $number,)+
        }

        impl Table {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The one with this number.
            pub(crate) fn numbered(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

tables! {
    /// Action key -> what the action made.
    Actions = 1,
    /// Stage name -> its last run, for `explain`.
    Stages = 2,
    /// Directory of a tree -> its entries.
    Trees = 3,
    /// Build number -> what was built.
    Builds = 4,
    /// Stamp of an input file -> its digest.
    Memo = 5,
    /// What the packages part knows: which .debs are where.
    Packages = 6,
    /// Layer -> its tarball.
    Layers = 7,
    /// Project and stage -> what was pinned of it.
    Pins = 8,
    /// Project and targets -> the number of their last build.
    Heads = 9,
    /// Stage name -> its runs before the last, for `explain`.
    Runs = 10,
    /// Project and target -> the compressed grains in its last file.
    Grains = 11,
    /// Stage name -> what comparisons of its runs have shown.
    Comparisons = 12,
}

/// Changes that become visible together, or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a fact.
    pub fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.changes.push((table, key.to_vec(), Some(value)));
    }

    /// Sets a fact to a record.
    pub fn put_record(&mut self, table: Table, key: &[u8], record: &impl Record) {
        self.put(table, key, record.to_bytes());
    }

    /// Forgets a fact.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.push((table, key.to_vec(), None));
    }

    /// Adds the changes of another batch.
    pub fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// Drops the changes of tables that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(Table) -> bool) {
        self.changes.retain(|(table, ..)| is_wanted(*table));
    }

    /// The rows that are changed, by table and key.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8])> {
        self.changes.iter().map(|(table, key, _)| (*table, key.as_slice()))
    }

    /// What a row is set to in the end, if it is.
    pub fn value(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        let mut changes = self.changes.iter().rev();
        let (.., value) = changes.find(|(of, row, _)| *of == table && row == key)?;
        value.as_deref()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A table's rows: keys with their values.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A map of facts.
pub trait Index: Send + Sync {
    /// One fact.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError>;

    /// Shows one fact, if it is there, where it lies: long ones are not copied.
    fn view(&self, table: Table, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), CacheError> {
        if let Some(fact) = self.get(table, key)? {
            see(&fact);
        }
        Ok(())
    }

    /// All facts of a table whose key starts with `prefix`, in the order of their keys.
    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Rows, CacheError>;

    /// Makes a batch durable, then visible; and with it all hints that were given. An empty batch is nothing to wait for.
    fn commit(&self, batch: Batch) -> Result<(), CacheError>;

    /// Takes a fact that only saves time. It is visible to this process at once, and durable with the next commit or never: nobody
    /// waits for the disk.
    fn hint(&self, table: Table, key: &[u8], value: Vec<u8>);

    /// Makes the hints durable that no commit has taken along.
    fn commit_hints(&self) -> Result<(), CacheError> {
        Ok(())
    }

    /// Makes facts visible that other processes wrote in the meantime.
    fn refresh(&self) {}

    /// Gives back the space of facts that are forgotten.
    fn compact(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

impl dyn Index + '_ {
    /// One fact as a record; a value that cannot be read is a miss.
    pub fn record<R: Record>(&self, table: Table, key: &[u8]) -> Result<Option<R>, CacheError> {
        let mut record = None;
        self.view(table, key, &mut |fact| record = R::from_bytes(fact))?;
        Ok(record)
    }
}

/// Facts in memory, for unit tests.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    facts: Mutex<BTreeMap<Row, Vec<u8>>>,
}

type Row = (Table, Vec<u8>);

impl Index for MemoryIndex {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.facts.lock().expect("no panic while held").get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Rows, CacheError> {
        let facts = self.facts.lock().expect("no panic while held");
        let from = facts.range((table, prefix.to_vec())..);
        let rows = from.take_while(|((t, key), _)| *t == table && key.starts_with(prefix));
        Ok(rows.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), CacheError> {
        let mut facts = self.facts.lock().expect("no panic while held");
        for (table, key, value) in batch.changes {
            match value {
                Some(value) => facts.insert((table, key), value),
                None => facts.remove(&(table, key)),
            };
        }
        Ok(())
    }

    fn hint(&self, table: Table, key: &[u8], value: Vec<u8>) {
        self.facts.lock().expect("no panic while held").insert((table, key.to_vec()), value);
    }
}

/// The same cases for every implementation, so that the one in memory may stand in for the one on disk.
#[cfg(test)]
pub(crate) mod suite {
    use super::*;

    pub(crate) fn run(index: &dyn Index) {
        assert_eq!(index.get(Table::Actions, b"a").unwrap(), None);
        let mut batch = Batch::default();
        batch.put(Table::Actions, b"a", b"1".to_vec());
        batch.put(Table::Actions, b"ab", b"2".to_vec());
        batch.put(Table::Actions, b"b", b"3".to_vec());
        batch.put(Table::Stages, b"a", b"other".to_vec());
        index.commit(batch).unwrap();
        assert_eq!(index.get(Table::Actions, b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(index.get(Table::Stages, b"a").unwrap().as_deref(), Some(&b"other"[..]));
        let keys: Vec<_> = index.scan(Table::Actions, b"a").unwrap().into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, [b"a".to_vec(), b"ab".to_vec()]);
        let mut batch = Batch::default();
        batch.delete(Table::Actions, b"a");
        batch.delete(Table::Actions, b"never there");
        index.commit(batch).unwrap();
        assert_eq!(index.get(Table::Actions, b"a").unwrap(), None);
        assert_eq!(index.scan(Table::Actions, b"").unwrap().len(), 2);
        hints(index);
    }

    /// Rows are as they were given last, whether as facts or as hints.
    fn hints(index: &dyn Index) {
        let row = |key: &[u8]| index.get(Table::Memo, key).unwrap();
        let rows = || index.scan(Table::Memo, b"h").unwrap();
        let commit = |key: &[u8], value: Option<&[u8]>| {
            let mut batch = Batch::default();
            match value {
                Some(value) => batch.put(Table::Memo, key, value.to_vec()),
                None => batch.delete(Table::Memo, key),
            }
            index.commit(batch).unwrap();
        };
        commit(b"h2", Some(b"fact"));
        index.hint(Table::Memo, b"h2", b"hint".to_vec());
        index.hint(Table::Memo, b"h1", b"hint".to_vec());
        index.hint(Table::Memo, b"other", b"hint".to_vec());
        index.refresh();
        assert_eq!(row(b"h2").as_deref(), Some(&b"hint"[..]));
        let both = [(b"h1".to_vec(), b"hint".to_vec()), (b"h2".to_vec(), b"hint".to_vec())];
        assert_eq!(rows(), both);
        commit(b"h3", Some(b"fact"));
        assert_eq!(rows()[..2], both);
        index.hint(Table::Memo, b"h1", b"again".to_vec());
        commit(b"h1", Some(b"fact"));
        index.hint(Table::Memo, b"h2", b"again".to_vec());
        commit(b"h2", None);
        assert_eq!((row(b"h1").as_deref(), row(b"h2")), (Some(&b"fact"[..]), None));
    }

    #[test]
    fn memory() {
        run(&MemoryIndex::default());
    }
}
