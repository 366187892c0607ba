//! The facts of each result a second time, as a file beside the index, so that a lost index can be made again.
//!
//! A file that an accident hit itself does not have its check sum any more and counts as absent. Then its stage runs
//! again.
//!
//! The file has the rows of the result's layer, of the directories that it changed, and of the packages that it used.
//! It is read only by `cache fsck` and by a build that finds no index. What comes from it is checked like anything
//! else. Build history, pins and last runs are in the index only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::{ActionKey, Batch, CacheError, Table, temp};

/// Stands first in every file, with the version of what follows.
const MAGIC: &[u8] = b"ibuild result 1\n";

/// Rows are text-like and many; this is fast and makes them a fifth.
const ZSTD_LEVEL: i32 = 1;

/// The facts of results as files, named by action keys.
#[derive(Debug, Clone)]
pub struct ResultFiles {
    dir: PathBuf,
    tmp: PathBuf,
}

impl ResultFiles {
    /// `tmp` has to be on the same file system as `dir`.
    pub(crate) fn new(dir: PathBuf, tmp: PathBuf) -> Self {
        Self { dir, tmp }
    }

    /// Where the facts of an action's result are, or would be.
    pub fn path(&self, key: &ActionKey) -> PathBuf {
        let hex = key.hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Writes down the facts that `batch` sets, in place of what an earlier run of the action had.
    pub fn write(&self, key: &ActionKey, batch: &Batch) -> Result<(), CacheError> {
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.dir);
        self.remove_stray(&path)?;
        fs::create_dir_all(parent).map_err(CacheError::io("create", parent))?;
        let bytes = Self::encode(key, batch).map_err(CacheError::io("compress", &path))?;
        let mut temp = temp::create(&self.tmp)?;
        let written = temp.write_all(&bytes);
        let written = written.and_then(|()| temp.as_file().sync_data());
        written.map_err(CacheError::io("write", temp.path()))?;
        temp.persist(&path).map_err(|e| CacheError::io("create", &path)(e.error))?;
        Ok(())
    }

    /// The facts of an action's result; `None` if they are not here, or are damaged.
    pub fn read(&self, key: &ActionKey) -> Result<Option<Batch>, CacheError> {
        let path = self.path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(CacheError::io("read", &path)(e)),
        };
        Ok(Self::decode(&bytes, key, u64::MAX))
    }

    /// The bytes of a file with the facts that `batch` sets.
    ///
    /// # Errors
    ///
    /// If they cannot be compressed.
    pub fn encode(key: &ActionKey, batch: &Batch) -> io::Result<Vec<u8>> {
        let packed = zstd::encode_all(encode(batch).as_slice(), ZSTD_LEVEL)?;
        let sum = blake3::hash(&packed);
        Ok([MAGIC, key.as_bytes(), sum.as_bytes(), &packed].concat())
    }

    /// The facts of an action in the bytes of a file; `None` if it is damaged, another action's, or has more than `most` bytes of facts.
    pub fn decode(bytes: &[u8], key: &ActionKey, most: u64) -> Option<Batch> {
        unpack(bytes, key, most).and_then(|rows| decode(&rows))
    }

    /// The actions that have a file here, in the order of their keys.
    pub fn list(&self) -> Result<Vec<ActionKey>, CacheError> {
        let files = self.entries()?.into_iter().filter(Entry::is_in_place);
        let mut found: Vec<_> = files.filter_map(|entry| entry.key()).collect();
        found.sort();
        Ok(found)
    }

    /// Removes what is here and can be no result's file, and says what it was, relative to where results are.
    pub fn remove_strays(&self) -> Result<Vec<String>, CacheError> {
        let strays = self.entries()?.into_iter().filter(|entry| !entry.is_in_place());
        let strays: Vec<_> = strays.collect();
        strays.iter().try_for_each(|stray| remove_all(&self.dir.join(&stray.name)))?;
        Ok(strays.into_iter().map(|stray| stray.name.display().to_string()).collect())
    }

    /// Makes way for a result's file.
    fn remove_stray(&self, path: &Path) -> Result<(), CacheError> {
        let parent = path.parent().unwrap_or(&self.dir);
        for (place, is_wrong) in [(parent, !parent.is_dir()), (path, path.is_dir())] {
            if is_wrong && place.symlink_metadata().is_ok() {
                remove_all(place)?;
            }
        }
        Ok(())
    }

    /// Everything that is where files of results are, or instead of their directories.
    fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let mut found = Vec::new();
        // What a link leads to is not the store's.
        if self.dir.is_symlink() {
            let reason = io::Error::other("it is a link, and not a directory of the store");
            return Err(CacheError::io("read", &self.dir)(reason));
        }
        for (prefix, kind) in listed(&self.dir)? {
            if !kind.is_dir() {
                found.push(Entry { name: prefix.into(), kind });
                continue;
            }
            let below = listed(&self.dir.join(&prefix))?.into_iter();
            found.extend(below.map(|(rest, kind)| Entry { name: Path::new(&prefix).join(rest), kind }));
        }
        Ok(found)
    }

    /// Removes an action's file; one that is not here is no error.
    pub fn remove(&self, key: &ActionKey) -> Result<(), CacheError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(e) if !is_absent(&e) => Err(CacheError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }
}

/// Something where files of results are.
struct Entry {
    /// Its path there.
    name: PathBuf,
    kind: fs::FileType,
}

impl Entry {
    /// Whether it is a file in a directory, as results' files are.
    fn is_in_place(&self) -> bool {
        self.kind.is_file() && self.key().is_some()
    }

    /// The action whose file is called so.
    fn key(&self) -> Option<ActionKey> {
        let (prefix, rest) = self.name.to_str()?.split_once('/')?;
        (prefix.len() == 2).then(|| format!("{prefix}{rest}").parse().ok())?
    }
}

/// Whether no file is there: nothing is, or something else.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    [NotFound, IsADirectory, NotADirectory].contains(&error.kind())
}

fn remove_all(path: &Path) -> Result<(), CacheError> {
    let removed = match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(CacheError::io("remove", path)),
    }
}

fn listed(dir: &Path) -> Result<Vec<(OsString, fs::FileType)>, CacheError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CacheError::io("read", dir))?,
    };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), entry.file_type()?))
    };
    entries.map(entry).collect::<io::Result<_>>().map_err(CacheError::io("read", dir))
}

/// The rows of a file, if it is whole and this action's.
fn unpack(bytes: &[u8], key: &ActionKey, most: u64) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(key.as_bytes())?;
    let (sum, packed) = rest.split_at_checked(32)?;
    if blake3::hash(packed).as_bytes() != sum {
        return None;
    }
    let mut rows = Vec::new();
    zstd::Decoder::new(packed).ok()?.take(most.saturating_add(1)).read_to_end(&mut rows).ok()?;
    (rows.len() as u64 <= most).then_some(rows)
}

/// Whether rows of this table may belong to a result, and go into its file: what it is, what it stands on, and what it was
/// made of. All others are about stages, builds and projects, or only save time.
fn is_of_results(table: Table) -> bool {
    match table {
        Table::Actions | Table::Trees | Table::Layers | Table::Packages => true,
        Table::Stages | Table::Runs | Table::Comparisons | Table::Builds | Table::Heads | Table::Pins => {
            false
        }
        Table::Memo | Table::Grains => false,
    }
}

/// For each row that is set in the end its table, the lengths of key and value, key and value.
fn encode(batch: &Batch) -> Vec<u8> {
    let mut last = BTreeMap::new();
    for (table, key, value) in batch.changes.iter().filter(|(table, ..)| is_of_results(*table)) {
        last.insert((*table, key), value.as_ref());
    }
    let mut rows = Vec::new();
    for ((table, key), value) in last.into_iter().filter_map(|(row, value)| Some((row, value?))) {
        rows.push(table as u8);
        for length in [key.len(), value.len()] {
            rows.extend_from_slice(&(length as u64).to_le_bytes());
        }
        rows.extend_from_slice(key);
        rows.extend_from_slice(value);
    }
    rows
}

fn decode(mut rows: &[u8]) -> Option<Batch> {
    let mut batch = Batch::default();
    while let Some((number, rest)) = rows.split_first() {
        let table = Table::numbered(*number).filter(|table| is_of_results(*table))?;
        let (key_length, rest) = length(rest)?;
        let (value_length, rest) = length(rest)?;
        let (key, rest) = rest.split_at_checked(key_length)?;
        let (value, rest) = rest.split_at_checked(value_length)?;
        batch.put(table, key, value.to_vec());
        rows = rest;
    }
    Some(batch)
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_le_bytes(*length)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> ActionKey {
        ActionKey::from_bytes([number; 32])
    }

    fn lab() -> (tempfile::TempDir, ResultFiles) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let files = ResultFiles::new(dir.path().join("results"), dir.path().join("tmp"));
        (dir, files)
    }

    fn facts() -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Actions, &[1; 32], b"made".to_vec());
        batch.put(Table::Trees, b"", vec![]);
        batch.put(Table::Layers, &[2; 32], vec![7; 1000]);
        batch
    }

    #[test]
    fn what_was_written_is_read() {
        let (_dir, files) = lab();
        assert_eq!(files.list().unwrap(), []);
        assert!(files.read(&key(1)).unwrap().is_none());
        files.write(&key(1), &facts()).unwrap();
        assert_eq!(files.read(&key(1)).unwrap().unwrap().changes, facts().changes);
        assert_eq!(files.list().unwrap(), [key(1)]);
        files.remove(&key(1)).unwrap();
        files.remove(&key(1)).unwrap();
        assert_eq!(files.list().unwrap(), []);
    }

    /// A regression: rows of one table were written and refused again, so all files that had any counted as damaged.
    #[test]
    fn what_is_written_of_any_table_can_be_read() {
        let (_dir, files) = lab();
        let mut batch = Batch::default();
        Table::ALL.iter().for_each(|table| batch.put(*table, b"key", vec![*table as u8]));
        files.write(&key(1), &batch).unwrap();
        let read = files.read(&key(1)).unwrap().unwrap();
        let tables: Vec<_> = read.changes.iter().map(|(table, ..)| *table).collect();
        assert_eq!(tables, [Table::Actions, Table::Trees, Table::Packages, Table::Layers]);
    }

    #[test]
    fn what_counts_is_how_a_row_is_in_the_end() {
        let (_dir, files) = lab();
        let mut batch = Batch::default();
        batch.delete(Table::Packages, b"set again");
        batch.put(Table::Packages, b"set again", b"new".to_vec());
        batch.put(Table::Packages, b"gone", b"old".to_vec());
        batch.delete(Table::Packages, b"gone");
        files.write(&key(1), &batch).unwrap();
        let read = files.read(&key(1)).unwrap().unwrap();
        assert_eq!(read.changes, [(Table::Packages, b"set again".to_vec(), Some(b"new".to_vec()))]);
    }

    #[test]
    fn a_damaged_file_is_an_absent_one() {
        let (_dir, files) = lab();
        files.write(&key(1), &facts()).unwrap();
        let whole = fs::read(files.path(&key(1))).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(files.path(&key(1)), &flipped).unwrap();
            assert!(files.read(&key(1)).unwrap().is_none(), "a flipped bit in byte {at}");
            fs::write(files.path(&key(1)), &whole[..at]).unwrap();
            assert!(files.read(&key(1)).unwrap().is_none(), "cut after {at} bytes");
        }
    }

    #[test]
    fn a_file_is_only_believed_under_its_own_name() {
        let (_dir, files) = lab();
        files.write(&key(1), &facts()).unwrap();
        files.write(&key(2), &facts()).unwrap();
        fs::copy(files.path(&key(1)), files.path(&key(2))).unwrap();
        assert!(files.read(&key(2)).unwrap().is_none());
    }
}
