//! The texts of the files that a recipe is written in, and places within them.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file of a recipe, by its order in the [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(usize);

impl FileId {
    /// The recipe itself.
    pub(super) const FIRST: FileId = FileId(0);
}

/// A stretch of a file's text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: FileId,
    pub(super) range: Range<usize>,
}

/// Something read from a recipe, and where it stood.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Span,
}

/// A place in a recipe, for people: lines and columns count from one, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The file, relative to the recipe's directory.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One file of a recipe.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// Its path, relative to the recipe's directory.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
    /// Where its lines begin. Every step has a place, so looking for it from the start would take the square of the length.
    lines: Vec<usize>,
}

impl SourceFile {
    fn new(path: &Path, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1));
        Self { path: path.to_owned(), lines: lines.collect(), text }
    }
}

/// All files of a recipe: the recipe itself first, then what it includes, in reading order.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// The paths in reading order.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len()).map(FileId)
    }

    pub(super) fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0]
    }

    pub(super) fn position(&self, span: &Span) -> Position {
        let file = self.file(span.file);
        let start = span.range.start.min(file.text.len());
        let line = file.lines.partition_point(|line| *line <= start);
        let before = &file.text[file.lines[line - 1]..start];
        Position { file: file.path.clone(), line, column: before.chars().count() + 1 }
    }

    /// The first place of `needle` within `span`; all of it if an escape in the text hides it.
    pub(super) fn narrow(&self, span: &Span, needle: &str) -> Span {
        let text = self.file(span.file).text.get(span.range.clone());
        match text.and_then(|text| text.find(needle)) {
            Some(offset) => {
                let start = span.range.start + offset;
                Span { file: span.file, range: start..start + needle.len() }
            }
            None => span.clone(),
        }
    }

    pub(super) fn push(&mut self, path: &Path, text: String) -> FileId {
        self.files.push(SourceFile::new(path, text));
        FileId(self.files.len() - 1)
    }

    pub(super) fn known(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path == path)
    }
}
