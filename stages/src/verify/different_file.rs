//! The files in which two runs of a stage differ.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::mem::discriminant;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ibuild_cache::Store;
use ibuild_compare::{Arrangement, Call, Cause, Comparison, Program, compare, compare_names};

use super::variation::Variation;
use crate::StageError;
use crate::executor::second_run::{FirstBytes, SecondRun};
use crate::inspect::inside::{Inside, InsideError};
use crate::snapshot::diff::{Difference, diff};
use crate::snapshot::{Entry, Kind, Snapshot};

/// What is read of a file. A difference behind that is not described.
const MOST_BYTES: usize = 64 << 20;

/// So many files of a stage are read. The others are listed.
const MOST_COMPARED: usize = 200;

/// In which respect a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Only the first run made it.
    Missing,
    /// Only the second run made it.
    Extra,
    /// One is a directory, for example, and the other a file.
    Type,
    /// The bytes.
    Content,
    /// The same lines or members, in another order.
    Order,
    /// Permissions.
    Mode,
    /// Owner or group.
    Owner,
    /// The modification time.
    Time,
    /// Extended attributes.
    Attributes,
    /// Which names one file has.
    Links,
}

impl Aspect {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Content => "content",
            Self::Order => "order",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Attributes => "attributes",
            Self::Links => "links",
        }
    }
}

/// A file in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferentFile {
    /// Its path in the image, absolute. Bytes that are no UTF-8 are written as `\\xff`.
    pub path: String,
    /// In which respects.
    pub aspects: Vec<Aspect>,
    /// A short account, for people: of bytes, modes, owners, times.
    pub lines: Vec<String>,
    /// What it is likely to come from.
    pub cause: Option<Cause>,
    /// The line of the stage's script that does so, if one does.
    pub call: Option<Call>,
    /// What of the machine has to be another one for it to differ. Nothing: it differs by itself.
    pub varied: Vec<Variation>,
}

/// Two runs of a stage.
pub(super) struct Runs<'a> {
    pub store: &'a Store,
    pub first: &'a Snapshot,
    pub second: &'a SecondRun<'a>,
    pub program: Option<Program<'a>>,
    /// When the second run ended, seconds since 1970.
    pub now: i64,
}

impl Runs<'_> {
    /// All files that differ, in the order of their paths.
    pub(super) fn different_files(&self) -> Result<Vec<DifferentFile>, StageError> {
        let found = diff(&self.second.trees, self.first.tree, self.second.tree)?;
        let files = found.into_iter().enumerate();
        files.map(|(number, (path, difference))| self.file(number, &path, difference)).collect()
    }

    fn file(&self, number: usize, path: &[u8], difference: Difference) -> Result<DifferentFile, StageError> {
        let shown = shown_path(path);
        let (old, new) = match difference {
            Difference::Changed(old, new) => (old, new),
            Difference::Removed(_) => return Ok(self.only_one(shown, Aspect::Missing)),
            Difference::Added(_) => return Ok(self.only_one(shown, Aspect::Extra)),
        };
        let (aspects, lines) = metadata(&old, &new);
        let (cause, call) = compare_names(&shown, self.program);
        let mut file = DifferentFile { path: shown, aspects, lines, cause, call, varied: Vec::new() };
        match (&old.kind, &new.kind) {
            (Kind::File { content: a, .. }, Kind::File { content: b, .. }) if a != b => {
                file.aspects.insert(0, Aspect::Content);
                if number < MOST_COMPARED {
                    self.compare_contents(path, &mut file)?;
                }
            }
            (Kind::File { link: a, .. }, Kind::File { link: b, .. }) if a != b => {
                file.aspects.push(Aspect::Links);
            }
            (Kind::Symlink(a), Kind::Symlink(b)) if a != b => {
                let Comparison { cause, call, .. } = compare(&file.path, a, b, self.program, self.now);
                file.aspects.insert(0, Aspect::Content);
                file.lines.push(format!("{} / {}", String::from_utf8_lossy(a), String::from_utf8_lossy(b)));
                (file.cause, file.call) = (cause, call);
            }
            (a, b) if discriminant(a) != discriminant(b) => file.aspects.insert(0, Aspect::Type),
            _ => {}
        }
        if file.aspects == [Aspect::Time] {
            file.cause = Some(Cause::Clock);
        }
        Ok(file)
    }

    /// Says of a file in which bytes its versions differ.
    fn compare_contents(&self, path: &[u8], file: &mut DifferentFile) -> Result<(), StageError> {
        match self.contents(path) {
            Ok((old, new)) => {
                let found = compare(&file.path, &old, &new, self.program, self.now);
                if found.arrangement == Arrangement::Permuted {
                    file.aspects[0] = Aspect::Order;
                }
                file.lines.extend(found.lines);
                (file.cause, file.call) = (found.cause, found.call);
            }
            Err(InsideError::Stage(error)) => return Err(error),
            Err(error) => file.lines.push(error.to_string()),
        }
        Ok(())
    }

    fn only_one(&self, path: String, aspect: Aspect) -> DifferentFile {
        let (cause, call) = compare_names(&path, self.program);
        DifferentFile { path, aspects: vec![aspect], lines: Vec::new(), cause, call, varied: Vec::new() }
    }

    /// Both versions of a regular file.
    pub(super) fn contents(&self, path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), InsideError> {
        let [mut first, mut second] = [(); 2].map(|()| FirstBytes { bytes: Vec::new(), most: MOST_BYTES });
        Inside::of(self.store, self.first).read(path, &mut first)?;
        self.second.read(self.store, path, &mut second)?;
        Ok((first.bytes, second.bytes))
    }

    /// Writes both versions of each regular file that differs below `dir`: the first run's in `1`, the second's in `2`. What is
    /// there of an earlier verification goes.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), StageError> {
        for side in ["1", "2"].map(|side| dir.join(side)) {
            match fs::symlink_metadata(&side) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&side),
                Ok(_) => fs::remove_file(&side),
                Err(_) => Ok(()),
            }
            .map_err(StageError::io("remove", &side))?;
        }
        for (path, difference) in diff(&self.second.trees, self.first.tree, self.second.tree)? {
            let (old, new) = match &difference {
                Difference::Changed(old, new) => (Some(old), Some(new)),
                Difference::Removed(old) => (Some(old), None),
                Difference::Added(new) => (None, Some(new)),
            };
            if old.is_some_and(is_file) {
                let mut file = create(&dir.join("1"), &path)?;
                written(Inside::of(self.store, self.first).read(&path, &mut file), dir)?;
            }
            if new.is_some_and(is_file) {
                let mut file = create(&dir.join("2"), &path)?;
                written(self.second.read(self.store, &path, &mut file), dir)?;
            }
        }
        Ok(())
    }
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File { .. })
}

/// A new file below `dir`, with the directories on the way. No path of a tree has `..` in it.
fn create(dir: &Path, path: &[u8]) -> Result<File, StageError> {
    let place = dir.join(OsStr::from_bytes(path));
    let parent = place.parent().unwrap_or(dir);
    fs::create_dir_all(parent).map_err(StageError::io("create", parent))?;
    File::create(&place).map_err(StageError::io("create", &place))
}

fn written(result: Result<(), InsideError>, dir: &Path) -> Result<(), StageError> {
    match result {
        Err(InsideError::Stage(error)) => Err(error),
        Err(InsideError::Write(error)) => Err(StageError::io("write below", dir)(error)),
        // It is damaged in the store: the difference itself says so.
        _ => Ok(()),
    }
}

/// A path that no other path is shown as: bytes that are no UTF-8 are written in hexadecimal.
fn shown_path(path: &[u8]) -> String {
    let mut shown = "/".to_owned();
    for chunk in path.utf8_chunks() {
        shown.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// In which respects two entries differ, beside their contents.
fn metadata(old: &Entry, new: &Entry) -> (Vec<Aspect>, Vec<String>) {
    let (mut aspects, mut lines) = (Vec::new(), Vec::new());
    let (old, new) = (&old.meta, &new.meta);
    let mut note = |aspect, line: Option<String>| {
        aspects.push(aspect);
        lines.extend(line);
    };
    if old.mode != new.mode {
        note(Aspect::Mode, Some(format!("mode {:04o} / {:04o}", old.mode, new.mode)));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        let line = format!("owner {}:{} / {}:{}", old.uid, old.gid, new.uid, new.gid);
        note(Aspect::Owner, Some(line));
    }
    if old.mtime != new.mtime {
        note(Aspect::Time, Some(format!("time {} / {}", old.mtime, new.mtime)));
    }
    if old.xattrs != new.xattrs {
        note(Aspect::Attributes, None);
    }
    (aspects, lines)
}
