//! What can go wrong with a store. Every variant names the act and the thing.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on the store.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        act: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The index refused.
    #[error("cannot {act} the index at `{}`: {reason}", path.display())]
    Index {
        /// What was tried, as a verb.
        act: &'static str,
        /// The index's directory.
        path: PathBuf,
        /// The engine's own words.
        reason: String,
    },
    /// Content that was to have a known digest has another one.
    #[error("expected {expected}, received {actual}")]
    WrongDigest {
        /// The digest that was asked for.
        expected: String,
        /// The digest of the bytes that came.
        actual: String,
    },
    /// The store was made by an ibuild that lays it out differently.
    #[error("{}", wrong_format(path, found, *expected))]
    Format {
        /// The store's directory.
        path: PathBuf,
        /// What its marker file says.
        found: String,
        /// What this version writes.
        expected: u32,
    },
    /// Another user made the store. Its owners and modes are not what this user would make of them.
    #[error("the store at `{}` belongs to another user", path.display())]
    Foreign {
        /// The store's directory.
        path: PathBuf,
    },
}

/// A marker that is no number was damaged, whoever wrote it.
fn wrong_format(store: &Path, found: &str, expected: u32) -> String {
    let store = store.display();
    match found.parse::<u32>() {
        Ok(found) => {
            format!("the store at `{store}` has format {found}, this ibuild writes format {expected}")
        }
        Err(_) if found.is_empty() => {
            format!("the store at `{store}` is damaged: its file `format` is empty")
        }
        Err(_) => format!("the store at `{store}` is damaged: its file `format` does not have a number"),
    }
}

impl CacheError {
    /// For `map_err` on an operation on `path`; `act` is a verb.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }

    /// The operating system's reason, where there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}
