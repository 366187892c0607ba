//! The directory of a recipe: what the paths lead to that a draft names.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::report::{Problem, Report};
use super::source::At;
use super::step::Input;
use super::suggest;

/// What a path in the recipe's directory leads to.
pub(super) enum Found {
    /// A file, with what is known of it.
    File(Metadata),
    /// A directory.
    Dir,
}

/// The directory, and where to report what is wrong with it.
pub(super) struct ProjectDir<'a> {
    pub(super) dir: &'a Path,
    pub(super) report: &'a Report<'a>,
}

impl ProjectDir<'_> {
    /// What is at `path`, followed through links as long as they stay in the recipe's directory. Reports the rest.
    pub(super) fn find(&self, path: &At<PathBuf>) -> Option<Found> {
        match self.resolve(&path.value) {
            Ok(metadata) if metadata.is_dir() => return Some(Found::Dir),
            Ok(metadata) if metadata.is_file() => return Some(Found::File(metadata)),
            Ok(_) => {
                let message = format!("`{}` is neither a file nor a directory", path.value.display());
                self.report.push(Problem::at(path.at.clone(), message));
            }
            Err(problem) => self.report.push(problem.into_problem(self, path)),
        }
        None
    }

    /// Looks for what a step may read.
    pub(super) fn find_input(&self, input: &At<Input>) {
        let Input { path, exclude } = &input.value;
        self.find_but(&At { value: path.clone(), at: input.at.clone() }, exclude);
    }

    /// Looks for something of which a part is left out. A file has no parts.
    pub(super) fn find_but(&self, path: &At<PathBuf>, exclude: &[String]) {
        if let (Some(Found::File(_)), [_, ..]) = (self.find(path), exclude) {
            let message = format!("`exclude` means nothing to `{}`, which is a file", path.value.display());
            self.report
                .push(Problem::at(path.at.clone(), message).hint("it leaves files of a directory out"));
        }
    }

    fn resolve(&self, path: &Path) -> Result<Metadata, Unreachable> {
        let target = self.dir.join(path).canonicalize()?;
        if !target.starts_with(self.dir.canonicalize()?) {
            return Err(Unreachable::Outside);
        }
        Ok(target.metadata()?)
    }

    /// The nearest name in the deepest directory that exists, or what that directory is missing.
    fn nearest(&self, path: &Path) -> Option<String> {
        let missing = path.ancestors().take_while(|part| !self.dir.join(part).exists()).last()?;
        let parent = missing.parent().unwrap_or(Path::new(""));
        let entries = fs::read_dir(self.dir.join(parent)).ok()?;
        let siblings: Vec<String> = entries
            .flatten()
            .map(|entry| parent.join(entry.file_name()).to_string_lossy().into_owned())
            .collect();
        suggest::hint(&missing.to_string_lossy(), siblings.iter().map(String::as_str))
    }
}

/// Why a path leads to nothing that may be used.
enum Unreachable {
    Outside,
    Io(std::io::Error),
}

impl From<std::io::Error> for Unreachable {
    fn from(error: std::io::Error) -> Self {
        Unreachable::Io(error)
    }
}

impl Unreachable {
    fn into_problem(self, project: &ProjectDir<'_>, path: &At<PathBuf>) -> Problem {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        let shown = path.value.display();
        let problem = |message: String| Problem::at(path.at.clone(), message);
        match self {
            Unreachable::Outside => problem(format!("`{shown}` leads out of the recipe's directory"))
                .hint("links may only lead to what is in it"),
            Unreachable::Io(_) if project.dir.join(&path.value).is_symlink() => {
                problem(format!("`{shown}` leads nowhere"))
            }
            Unreachable::Io(error) if matches!(error.kind(), NotFound | NotADirectory) => {
                problem(format!("there is no `{shown}`")).hint_if(project.nearest(&path.value))
            }
            Unreachable::Io(error) => problem(format!("cannot look at `{shown}`: {}", error.kind())),
        }
    }
}
