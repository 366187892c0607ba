//! What was built, build after build. Garbage collection keeps what the last ones made.

use ibuild_cache::{ActionKey, Batch, CacheError, FileLock, LockMode, Record, Store, Table};
use serde::{Deserialize, Serialize};

/// A build that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The project's name.
    pub project: String,
    /// The names of what was asked for, sorted.
    pub targets: Vec<String>,
    /// When it ended, seconds since 1970.
    pub time: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// All stages that the targets need, in build order.
    pub stages: Vec<BuiltStage>,
    /// What the targets are, each the executor's own value as a record, in their order.
    pub made: Vec<Vec<u8>>,
}

/// A stage as it was in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltStage {
    /// Its name.
    pub stage: String,
    /// The action that it was.
    pub key: ActionKey,
    /// Its inputs, by their places in the build's list.
    pub inputs: Vec<u32>,
    /// Whether it ran; else its result was there.
    pub ran: bool,
}

impl Record for Build {
    const SCHEMA: u16 = 1;
}

/// The number of a build.
#[derive(Serialize, Deserialize)]
struct Number(u64);

impl Record for Number {
    const SCHEMA: u16 = 1;
}

/// Under this key is the number of the last build of all. No project has an empty name.
const LAST_OF_ALL: &[u8] = b"";

impl Build {
    /// All builds that a store remembers with their numbers, oldest first. What another version wrote is left out.
    pub fn all(store: &Store) -> Result<Vec<(u64, Self)>, CacheError> {
        let rows = store.index().scan(Table::Builds, &[])?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let number = <[u8; 8]>::try_from(key.as_slice()).ok()?;
            Some((u64::from_be_bytes(number), Self::from_bytes(value)?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// The last build of the same targets.
    fn before(&self, store: &Store) -> Result<Option<Self>, CacheError> {
        let Some(Number(number)) = store.index().record(Table::Heads, &self.head())? else { return Ok(None) };
        store.index().record(Table::Builds, &number.to_be_bytes())
    }

    fn head(&self) -> Vec<u8> {
        let words = std::iter::once(&self.project).chain(&self.targets);
        words.map(String::as_bytes).collect::<Vec<_>>().join(&0)
    }

    /// Whether both are of the same actions.
    pub fn is_same(&self, other: &Self) -> bool {
        let keys = |build: &Self| build.stages.iter().map(|stage| stage.key).collect::<Vec<_>>();
        keys(self) == keys(other)
    }

    /// Commits `batch`, and with it that this was built, unless nothing ran and the last build of these targets was
    /// the same.
    pub(crate) fn remember(&self, store: &Store, mut batch: Batch) -> Result<(), CacheError> {
        let nothing_ran = self.stages.iter().all(|stage| !stage.ran);
        if nothing_ran && self.before(store)?.is_some_and(|before| before.is_same(self)) {
            return store.index().commit(batch);
        }
        // Two builds that end at the same time get two numbers.
        let _lock = FileLock::take(&store.layout().locks().join("builds"), LockMode::Wait)?;
        store.index().refresh();
        let last: Option<Number> = store.index().record(Table::Heads, LAST_OF_ALL)?;
        let number = last.map_or(0, |last| last.0) + 1;
        batch.put_record(Table::Builds, &number.to_be_bytes(), self);
        for head in [LAST_OF_ALL, &self.head()] {
            batch.put_record(Table::Heads, head, &Number(number));
        }
        store.index().commit(batch)
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;

    fn build(target: &str, keys: &[u8], ran: bool) -> Build {
        let stage = |(at, key): (usize, &u8)| BuiltStage {
            stage: format!("x/{at}"),
            key: ActionKey::from_bytes([*key; 32]),
            inputs: Vec::new(),
            ran,
        };
        Build {
            project: "lab".to_owned(),
            targets: vec![target.to_owned()],
            time: 7,
            millis: 1,
            stages: keys.iter().enumerate().map(stage).collect(),
            made: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_new_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let builds = [
            (build("x.ova", &[1, 2], true), 1),
            (build("x.ova", &[1, 2], false), 1),
            (build("x.raw", &[1, 2], false), 2),
            (build("x.ova", &[1, 2], false), 2),
            (build("x.ova", &[1, 2], true), 3),
            (build("x.ova", &[1, 3], true), 4),
            (build("x.ova", &[1, 2], false), 5),
        ];
        for (build, count) in builds {
            build.remember(&store, Batch::default()).unwrap();
            assert_eq!(Build::all(&store).unwrap().len(), count, "{build:?}");
        }
        let numbers = Build::all(&store).unwrap().into_iter().map(|(number, _)| number);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
}
