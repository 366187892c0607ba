//! Reads the files of a recipe. The only part that opens TOML files.

use std::path::{Component, Path, PathBuf};

use ibuild_host::bounded::{self, Unfit};
use toml::de::DeTable;

use super::paths::stays_inside;
use super::report::{Problem, RecipeErrors, Report};
use super::source::{FileId, SourceMap, Span};
use super::values::{Context, Node};
use super::vars::Vars;

/// The file a recipe is looked for in.
pub const RECIPE_FILE: &str = "ibuild.toml";

/// Where a recipe is: its directory, and its file's name in there.
pub(super) struct Location {
    dir: PathBuf,
    file: PathBuf,
}

impl Location {
    /// Takes a path to a recipe or to its directory.
    pub(super) fn of(path: &Path) -> Self {
        match path.file_name() {
            Some(name) if !path.is_dir() && path.extension().is_some_and(|extension| extension == "toml") => {
                Self { dir: path.parent().unwrap_or(Path::new("")).to_owned(), file: name.into() }
            }
            _ => Self { dir: path.to_owned(), file: RECIPE_FILE.into() },
        }
    }

    /// The recipe's directory; an empty path would not open as one.
    pub(super) fn dir(&self) -> &Path {
        if self.dir.as_os_str().is_empty() { Path::new(".") } else { &self.dir }
    }
}

/// Reads a recipe and, depth first, what it includes. Each file once, however many include it.
pub(super) fn read(location: &Location) -> Result<SourceMap, RecipeErrors> {
    let mut reader = Reader {
        dir: location.dir(),
        sources: SourceMap::default(),
        stack: Vec::new(),
        problems: Vec::new(),
    };
    match read_text(&reader.dir.join(&location.file)) {
        Ok(text) => reader.enter(&location.file, text),
        Err(why) => return Err(RecipeErrors::without_source(unreadable(location, &why))),
    }
    let report = Report::new(&reader.sources);
    reader.problems.into_iter().for_each(|problem| report.push(problem));
    match report.finish() {
        Some(errors) => Err(errors),
        None => Ok(reader.sources),
    }
}

fn unreadable(location: &Location, why: &ReadError) -> Problem {
    let file = location.file.display();
    match why {
        ReadError::Missing => {
            Problem::nowhere(format!("there is no `{file}` in `{}`", location.dir().display()))
                .hint("`ibuild init` starts a project, `-C DIR` looks in another directory")
        }
        other => Problem::nowhere(format!("cannot read `{file}` in `{}`: {other}", location.dir().display())),
    }
}

/// Why a file has no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is no such file")]
    Missing,
    #[error("it is a directory")]
    Directory,
    #[error(transparent)]
    Unfit(Unfit),
    #[error("permission denied")]
    Denied,
    #[error("it is not UTF-8 text: line {0} has other bytes")]
    NotText(usize),
    #[error("{0}")]
    Other(std::io::ErrorKind),
}

fn read_text(path: &Path) -> Result<String, ReadError> {
    use std::io::ErrorKind;
    const MOST: u64 = 16 << 20;
    let bytes = bounded::read(path, MOST).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ReadError::Missing,
        ErrorKind::IsADirectory => ReadError::Directory,
        ErrorKind::PermissionDenied => ReadError::Denied,
        kind => Unfit::of(&error).map_or(ReadError::Other(kind), ReadError::Unfit),
    });
    String::from_utf8(bytes?).map_err(|error| {
        let text = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ReadError::NotText(1 + text.iter().filter(|byte| **byte == b'\n').count())
    })
}

struct Reader<'a> {
    dir: &'a Path,
    sources: SourceMap,
    /// The files being read, outermost first: an include of one of them is a cycle.
    stack: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn enter(&mut self, path: &Path, text: String) {
        let id = self.sources.push(path, text);
        self.stack.push(path.to_owned());
        for (span, include) in self.includes(id) {
            self.include(span, &include);
        }
        self.stack.pop();
    }

    /// What a file includes. Syntax errors are left to the parser, which reads the file again.
    fn includes(&mut self, id: FileId) -> Vec<(Span, String)> {
        let text = self.sources.file(id).text.clone();
        let (table, _) = DeTable::parse_recoverable(&text);
        let report = Report::new(&self.sources);
        let vars = Vars::default();
        let context = Context { sources: &self.sources, vars: &vars, report: &report };
        let node = table.get_ref().get("include").map(|value| Node::new(&context, id, value));
        let nodes = node.and_then(Node::array).unwrap_or_default();
        // Vars do not exist yet: `{vars.x}` in an include is just an odd file name.
        let found = nodes.into_iter().filter_map(|node| match node.raw().as_str() {
            Some(text) => Some((node.span(), text.to_owned())),
            None => node.wrong_type("a string"),
        });
        let found = found.collect();
        self.problems.extend(report.into_problems());
        found
    }

    fn include(&mut self, span: Span, include: &str) {
        if let Err(problem) = stays_inside(include, &span) {
            return self.problems.push(problem);
        }
        let path: PathBuf =
            Path::new(include).components().filter(|part| *part != Component::CurDir).collect();
        if let Some(start) = self.stack.iter().position(|open| *open == path) {
            let cycle: Vec<_> =
                self.stack[start..].iter().chain([&path]).map(|p| p.display().to_string()).collect();
            let message = format!("files include each other: `{}`", cycle.join(" -> "));
            return self.problems.push(Problem::at(span, message));
        }
        if self.sources.known(&path) {
            return;
        }
        match read_text(&self.dir.join(&path)) {
            Ok(text) => self.enter(&path, text),
            Err(why) => self.problems.push(Problem::at(span, format!("cannot include `{include}`: {why}"))),
        }
    }
}
