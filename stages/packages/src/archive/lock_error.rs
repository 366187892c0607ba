//! Why a file is no lock, and what to do about it.

use std::path::Path;

/// Why a file is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another version wrote it.
    #[error("it has format `{found}`, this ibuild reads formats 1 and 2")]
    Format {
        /// What its first line says.
        found: String,
    },
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// The last line is missing.
    #[error("it was cut short: its last line, `end` with a number, is missing")]
    Cut,
    /// Lines are missing, or there are more than were written.
    #[error("its last line says that {said} lines are before it, but there are {found}")]
    Count {
        /// What the last line says.
        said: usize,
        /// How many there are.
        found: usize,
    },
    /// A suite is locked twice, as after a merge that took the lines of both sides.
    #[error("lines {first} and {second} both lock `{suite}`")]
    Twice {
        /// Counted from one.
        first: usize,
        /// Counted from one.
        second: usize,
        /// The archive and the suite.
        suite: String,
    },
    /// Two versions of it were to be merged.
    #[error("line {number} is a conflict marker of a merge: `{line}`")]
    Conflict {
        /// Counted from one.
        number: usize,
        /// What stands there.
        line: String,
    },
    /// Bytes that are no text.
    #[error("line {number} is not text")]
    NotText {
        /// Counted from one.
        number: usize,
    },
    /// A line that means nothing.
    #[error("line {number} cannot be read: `{line}`")]
    Line {
        /// Counted from one.
        number: usize,
        /// What stands there, cut where it is long.
        line: String,
    },
}

impl LockError {
    /// What can be said of the lock at `path`.
    pub(crate) fn verdict(&self, path: &Path) -> String {
        match self {
            Self::Format { .. } => format!("cannot read the lock `{}`", path.display()),
            _ => format!("the lock `{}` is broken", path.display()),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let first = match self {
            Self::Format { .. } => "use the ibuild that wrote it",
            Self::Conflict { .. } | Self::Twice { .. } | Self::Count { .. } => {
                "take one side of the merge (`git checkout --ours ibuild.lock` or `git checkout --theirs ibuild.lock`); the next \
                 build adds what it lacks"
            }
            Self::Empty | Self::Cut | Self::NotText { .. } | Self::Line { .. } => {
                "restore it from version control"
            }
        };
        format!(
            "{first}; or remove it: `ibuild lock` makes a new one then, of the archives as they are by now"
        )
    }

    pub(crate) fn format(found: &str) -> Self {
        Self::Format { found: shown(found) }
    }

    pub(crate) fn line(number: usize, line: &str) -> Self {
        const MARKS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];
        let shown = shown(line);
        match MARKS.iter().any(|mark| line.starts_with(mark)) {
            true => Self::Conflict { number, line: shown },
            false => Self::Line { number, line: shown },
        }
    }
}

/// A text as a message shows it: its beginning, without anything that a terminal would obey.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let beginning: String = text.chars().take(MOST).map(escape).collect();
    if text.chars().nth(MOST).is_some() { beginning + "..." } else { beginning }
}
