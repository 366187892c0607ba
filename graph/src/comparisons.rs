//! What comparisons of several runs of one action have shown: whether a stage makes the same each time.

use ibuild_cache::{ActionKey, Batch, CacheError, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::memory::now;
use crate::{RunMemory, StageName};

/// So many names of what differed are kept.
const MOST_NAMES: usize = 20;

/// What is known of a stage from running one of its actions several times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparisons {
    /// The action.
    pub key: ActionKey,
    /// How many runs were compared with the one before.
    pub runs: u32,
    /// How many of them made something else.
    pub differed: u32,
    /// What differed, as the executor names it: not all, if it is much.
    pub names: Vec<String>,
    /// When the last comparison was, seconds since 1970.
    pub time: u64,
}

impl Record for Comparisons {
    const SCHEMA: u16 = 1;
}

impl Comparisons {
    /// Whether no run made something else.
    pub fn are_equal(&self) -> bool {
        self.differed == 0
    }

    /// What a store knows of all stages, by project and stage.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn all(store: &Store) -> Result<Vec<(String, StageName, Self)>, CacheError> {
        let rows = store.index().scan(Table::Comparisons, &[])?;
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let (project, stage) = std::str::from_utf8(key).ok()?.split_once('\0')?;
            Some((project.to_owned(), StageName::new(stage), Self::from_bytes(value)?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// A sentence for people: `not reproducible: /etc/built (2 of 3 runs differed)`; nothing if all runs were equal.
    pub fn sentence(&self) -> Option<String> {
        let (first, rest) = self.names.split_first()?;
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let first = first.escape_debug();
        (!self.are_equal()).then(|| {
            format!("not reproducible: {first}{more} ({} of {} runs differed)", self.differed, self.runs)
        })
    }

    fn with(self, differing: &[String]) -> Self {
        let mut names = self.names;
        names.extend(differing.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        names.truncate(MOST_NAMES);
        Self {
            runs: self.runs.saturating_add(1),
            differed: self.differed.saturating_add(u32::from(!differing.is_empty())),
            names,
            time: now(),
            ..self
        }
    }
}

impl RunMemory<'_> {
    /// What is known of a stage from comparisons. They may be of an earlier action of it.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn comparisons(&self, stage: &StageName) -> Result<Option<Comparisons>, CacheError> {
        self.store().index().record(Table::Comparisons, &self.stage_key(stage))
    }

    /// Remembers that an action ran once more, and what differed; nothing, if it made the same. What was known of another
    /// action of the stage is replaced.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn remember_comparison(
        &self,
        stage: &StageName,
        key: ActionKey,
        differing: &[String],
    ) -> Result<(), CacheError> {
        let known = self.comparisons(stage)?.filter(|known| known.key == key);
        let known = known.unwrap_or(Comparisons { key, runs: 0, differed: 0, names: Vec::new(), time: 0 });
        let mut batch = Batch::default();
        batch.put_record(Table::Comparisons, &self.stage_key(stage), &known.with(differing));
        self.store().index().commit(batch)
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::MemoryIndex;

    use super::*;

    #[test]
    fn comparisons_of_one_action_add_up_and_another_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
        let (memory, stage) = (RunMemory::new(&store, "lab"), StageName::new("x/1"));
        let key = |number| ActionKey::from_bytes([number; 32]);
        let note = |number, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            memory.remember_comparison(&stage, key(number), &names).unwrap();
            memory.comparisons(&stage).unwrap().unwrap()
        };
        assert_eq!(note(1, &[]).sentence(), None);
        assert_eq!(note(1, &["/a"]).sentence().unwrap(), "not reproducible: /a (1 of 2 runs differed)");
        let known = note(1, &["/a", "/b\x1b"]);
        assert_eq!(known.sentence().unwrap(), "not reproducible: /a and 1 more (2 of 3 runs differed)");
        assert_eq!(note(2, &[]).runs, 1);
        assert_eq!(Comparisons::all(&store).unwrap().len(), 1);
    }
}
