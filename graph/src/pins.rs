//! What people want kept, whatever else goes.

use ibuild_cache::{ActionKey, Batch, CacheError, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::StageName;

/// A pin: what a stage made at that time, with everything that it needs. A later run of the stage is another action and
/// is not pinned by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The project's name.
    pub project: String,
    /// The stage's name.
    pub stage: StageName,
    /// The action that is kept.
    pub key: ActionKey,
}

#[derive(Serialize, Deserialize)]
struct Pinned {
    key: ActionKey,
}

impl Record for Pinned {
    const SCHEMA: u16 = 1;
}

impl Pin {
    /// All pins of a store, sorted by project and stage.
    pub fn all(store: &Store) -> Result<Vec<Self>, CacheError> {
        let rows = store.index().scan(Table::Pins, &[])?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let (project, stage) = std::str::from_utf8(key).ok()?.split_once('\0')?;
            let Pinned { key } = Pinned::from_bytes(value)?;
            Some(Self { project: project.to_owned(), stage: StageName::new(stage), key })
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    fn row(&self) -> Vec<u8> {
        [self.project.as_bytes(), &[0], self.stage.as_str().as_bytes()].concat()
    }

    /// Keeps what the pin names, in place of what was pinned of the stage before.
    pub fn set(&self, store: &Store) -> Result<(), CacheError> {
        let mut batch = Batch::default();
        batch.put_record(Table::Pins, &self.row(), &Pinned { key: self.key });
        store.index().commit(batch)
    }

    /// Takes the pin away.
    pub fn remove(&self, store: &Store) -> Result<(), CacheError> {
        let mut batch = Batch::default();
        batch.delete(Table::Pins, &self.row());
        store.index().commit(batch)
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;

    #[test]
    fn a_pin_is_set_moved_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let pin = |key| Pin {
            project: "lab".to_owned(),
            stage: StageName::new("x/1"),
            key: ActionKey::from_bytes([key; 32]),
        };
        pin(1).set(&store).unwrap();
        pin(2).set(&store).unwrap();
        assert_eq!(Pin::all(&store).unwrap(), [pin(2)]);
        pin(2).remove(&store).unwrap();
        assert_eq!(Pin::all(&store).unwrap(), []);
    }
}
