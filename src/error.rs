//! The error of the facade: what went wrong, of which kind it is, and what the user can do about it.
//!
//! The kind is chosen where an error is made: [`Error`] is made of nothing but a [`Classified`] error, so one that says no kind
//! does not compile.

use std::fmt;
use std::io;

/// What kind of thing went wrong. The program ends with a status for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A stage, check, test or verification failed.
    Failed,
    /// The command line or the recipe is wrong.
    Usage,
    /// Something outside failed: mirror, disk, permission, tool.
    Environment,
    /// The lock does not match.
    Locked,
    /// The command was interrupted.
    Interrupted,
    /// A bug in ibuild.
    Bug,
}

/// An error that knows its kind.
pub trait Classified: std::error::Error + Send + Sync + 'static {
    /// Its kind.
    fn kind(&self) -> ErrorKind;

    /// What the user can do about it, a sentence each.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An error with its kind, its causes, and what to do about it.
pub struct Error {
    kind: ErrorKind,
    hints: Vec<String>,
    source: anyhow::Error,
}

/// What comes of an operation of the facade.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do about it, a sentence each.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The same error with another thing to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hints: vec![hint.into()], ..self }
    }

    /// The same error as the cause of what was tried, said in these words.
    #[must_use]
    pub fn context(self, text: impl Into<String>) -> Self {
        Self { source: self.source.context(text.into()), ..self }
    }

    /// The error and its causes, the outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        self.source.chain()
    }

    /// The first of the causes that is an `E`, for who shows it in its own way. Kind and hints do not need it.
    pub fn find<E: std::error::Error + Send + Sync + 'static>(&self) -> Option<&E> {
        self.chain().find_map(|cause| cause.downcast_ref::<E>())
    }
}

impl<E: Classified> From<E> for Error {
    fn from(error: E) -> Self {
        let (kind, mut hints) = (error.kind(), error.hints());
        let source = anyhow::Error::new(error);
        let system = source.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        if hints.is_empty() {
            hints.extend(system.and_then(system_hint).map(str::to_owned));
        }
        if kind == ErrorKind::Bug {
            hints.push(
                "this is a mistake in ibuild: please report it with the command that you ran".to_owned(),
            );
        }
        Self { kind, hints, source }
    }
}

/// What to do about what the system answered.
fn system_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "make room on that file system; for the store, `ibuild cache gc` does, with `--budget SIZE` if need be",
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("that file system is mounted read-only; `--cache-dir` and `--output` choose other places")
        }
        _ => None,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Adds to an error what was tried.
pub trait Context<T> {
    /// Adds a message.
    fn context(self, text: impl Into<String>) -> Result<T>;

    /// Adds a message that is built lazily.
    fn with_context<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, text: impl Into<String>) -> Result<T> {
        self.with_context(|| text)
    }

    fn with_context<S: Into<String>>(self, text: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().context(text()))
    }
}

/// A mistake in how ibuild was called.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    hint: Option<String>,
}

impl UsageError {
    /// A mistake, in a sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// And what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Classified for UsageError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        self.hint.clone().into_iter().collect()
    }
}

/// Something outside that keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EnvironmentError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Classified for EnvironmentError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        vec![self.hint.clone()]
    }
}

/// Something that was looked at and found wanting; the command has said all about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(pub String);

impl Classified for CheckFailed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_said_first_and_the_kind_stays() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Err::<(), _>(full).context("cannot write `x`").context("cannot do it").unwrap_err();
        let said: Vec<_> = error.chain().map(ToString::to_string).collect();
        assert_eq!(said[..2], ["cannot do it", "cannot write `x`"]);
        assert_eq!((error.kind(), error.hints().len()), (ErrorKind::Environment, 1));
        assert!(error.find::<io::Error>().is_some() && error.find::<UsageError>().is_none());
    }
}
