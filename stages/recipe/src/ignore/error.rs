//! Why it cannot be said which files of a project are meant.

use std::io;
use std::path::PathBuf;

/// The names between `[:` and `:]`.
pub(super) const CLASSES: [&str; 12] = [
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
    "xdigit",
];

/// Why it cannot be said which files of a directory are meant.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// The rules, or the directory, cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A line of the rules is not a pattern.
    #[error("line {line} of `{}` is not a pattern", file.display())]
    Pattern {
        /// The file with the rules.
        file: PathBuf,
        /// Which line of it, from 1 on.
        line: usize,
        /// Why.
        #[source]
        source: PatternError,
    },
    /// The rules are more than can be matched together.
    #[error("the patterns of `{}` are too many or too long: {why}", file.display())]
    TooMuch {
        /// The file with the rules.
        file: PathBuf,
        /// Which limit they are beyond.
        why: String,
    },
}

/// Why a line is not a pattern. To git such a line matches nothing, without a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Bytes that are no UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// `a//b`
    #[error("there is no name between two slashes")]
    EmptyName,
    /// `[a`
    #[error("a `[` has no `]`")]
    UnclosedClass,
    /// `[[:spaces:]]`
    #[error("there are no characters `[:{0}:]`")]
    UnknownClass(String),
    /// `[\]]`, which git knows and the matcher does not.
    #[error("there is a backslash between `[` and `]`")]
    BackslashInClass,
    /// `[[:upper:]-z]`, where git takes the `-` for itself and the matcher for a range.
    #[error("a `-` follows `[:...:]`")]
    RangeFromClass,
    /// `a\/`, which matches nothing to git.
    #[error("there is a backslash before a slash")]
    EscapedSlash,
    /// A pattern of `exclude` that is empty, or what a file of rules takes for a comment.
    #[error("it matches nothing")]
    Nothing,
    /// A pattern of `exclude` with the end of a line.
    #[error("it has several lines")]
    SeveralLines,
    /// What else the matcher has to say.
    #[error("{0}")]
    Malformed(String),
}

impl PatternError {
    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Nothing => "write a name or a pattern; `\\#` is a `#` at the beginning".to_owned(),
            Self::SeveralLines => "write each pattern as a text of its own".to_owned(),
            Self::NotText => "save the file as UTF-8; `?` stands for any byte".to_owned(),
            Self::EmptyName => "write one `/`, or `/**/` for any directories between".to_owned(),
            Self::UnclosedClass => "close it, or write `\\[` for the character itself".to_owned(),
            Self::UnknownClass(_) => format!("there are {}", CLASSES.join(", ")),
            Self::BackslashInClass => {
                "`]` comes first and `-` last, which needs none; write a backslash itself outside, as `\\\\`"
                    .to_owned()
            }
            Self::RangeFromClass => "write the `-` last: `[[:upper:]z-]`".to_owned(),
            Self::EscapedSlash => "leave the backslash out".to_owned(),
            Self::Malformed(_) => "a range goes from the lower character to the higher; outside of brackets a backslash makes the next character stand for itself".to_owned(),
        }
    }
}

impl IgnoreError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Pattern { source, .. } => Some(source.remedy()),
            Self::TooMuch { .. } => Some("move the files into a directory, and name that".to_owned()),
        }
    }

    /// Whether the rules themselves are wrong, and not the machine that cannot read them.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}
