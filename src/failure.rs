//! Errors for people, and which exit status each has.

use std::io::ErrorKind;
use std::process::ExitCode;

use ibuild::cache::CacheError;
use ibuild::graph::BuildError;
use ibuild::stages::host::userns::UserNamespaceError;
use ibuild::stages::machine::MachineError;
use ibuild::stages::machine::trial::TrialError;
use ibuild::stages::packages::PackageError;
use ibuild::stages::recipe::{FindStageError, RecipeErrors, Style as RecipeStyle};
use ibuild::stages::{InsideError, MountError, ShellError, StageError, TargetError};

use crate::interrupt;
use crate::invocation::Invocation;
use crate::status::Status;
use crate::terminal::{OutputError, Style, harmless, paint, tell};

/// A mistake in how ibuild was called.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    hint: Option<String>,
}

impl UsageError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do about it.
    #[cfg(test)]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Something outside that keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EnvironmentError {
    pub message: String,
    pub hint: String,
}

/// Something that was looked at and found wanting; the command has said all about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(pub String);

/// The program is wrong; what was wrong has been said when it was.
#[derive(Debug, thiserror::Error)]
#[error("a panic ended the command")]
pub struct Panicked;

/// Prints an error with its causes and what to do, and gives the exit status for it.
pub fn report(error: &anyhow::Error, style: Style, invocation: &Invocation) -> ExitCode {
    if let Some(errors) = error.downcast_ref::<RecipeErrors>() {
        let style = if style == Style::Colour { RecipeStyle::Colour } else { RecipeStyle::Plain };
        tell!("{}", errors.render(style).trim_end());
        return Status::Usage.into();
    }
    // Who is asked to stop fails in many ways: a program of ours that heard the same signal may have ended first.
    if is_interrupt(error) || interrupt::is_asked() && status(error) != Status::Bug {
        tell!("{}", paint(style, "1", "interrupted"));
        return Status::Interrupted.into();
    }
    tell!("{} {}", paint(style, "1;31", "error:"), harmless(&without_number(&error.to_string())));
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // A transparent error says what its cause says.
        if text != said {
            tell!("  {} {}", paint(style, "1", "caused by:"), harmless(&without_number(&text)));
        }
        said = text;
    }
    if let Some((tail, _)) = find(error).and_then(StageError::transcript) {
        tail.iter().for_each(|line| tell!("  | {line}"));
    }
    for hint in hints(error) {
        tell!("{} {}", paint(style, "1;36", "hint:"), harmless(&invocation.in_hint(&hint)));
    }
    status(error).into()
}

/// The system's words for an error say enough: its number, which Rust adds, is for nobody.
fn without_number(text: &str) -> String {
    let Some((before, rest)) = text.split_once(" (os error ") else { return text.to_owned() };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(')');
    after.map_or_else(|| text.to_owned(), |after| format!("{before}{}", without_number(after)))
}

/// What the store answered, if it did. An error that is transparent hides it from the chain of causes.
fn find_store_error(error: &anyhow::Error) -> Option<&CacheError> {
    let in_build = find(error).and_then(|error: &BuildError<StageError>| match error {
        BuildError::Store(error) => Some(error),
        BuildError::Stage { .. } | BuildError::Panicked { .. } => None,
    });
    in_build.or_else(|| find(error))
}

/// What to do about what the system answered.
fn system_hint(error: &anyhow::Error) -> Option<&'static str> {
    let kind = find::<std::io::Error>(error)?.kind();
    let is_full = matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    if find::<OutputError>(error).is_some() {
        return is_full.then_some("make room where standard output leads, or send it to another place");
    }
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(
            "make room on that file system; for the store, `ibuild cache gc` does, with `--budget SIZE` if need be",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            Some("that file system is mounted read-only; `--cache-dir` and `--output` choose other places")
        }
        _ => None,
    }
}

fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

/// What went wrong with a stage. An error that is transparent hides it from the chain of causes.
fn stage_error(error: &anyhow::Error) -> Option<&StageError> {
    let in_shell = || match find(error) {
        Some(ShellError::Stage(error)) => Some(error),
        _ => None,
    };
    find(error).or_else(in_shell)
}

fn is_interrupt(error: &anyhow::Error) -> bool {
    stage_error(error).is_some_and(StageError::is_interrupt)
        || find::<MachineError>(error).is_some_and(MachineError::is_interrupt)
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(error) = find::<UsageError>(error) {
        hints.extend(error.hint.clone());
    }
    if let Some(error) = find::<EnvironmentError>(error) {
        hints.push(error.hint.clone());
    }
    hints.extend(system_hint(error).map(str::to_owned));
    if let Some(CacheError::Index { .. }) = find_store_error(error) {
        hints.push("`ibuild cache fsck` puts a broken index aside and begins a new one".to_owned());
    }
    if let Some(CacheError::Foreign { .. }) = find(error) {
        hints
            .push("`--cache-dir DIR` names another one; root and other users each need their own".to_owned());
    }
    if let Some(CacheError::Format { path, found, expected }) = find(error) {
        hints.push(match found.parse::<u32>() {
            Ok(_) => "`--cache-dir DIR` names another store; one that is removed is made anew".to_owned(),
            Err(_) => format!(
                "`echo {expected} > {}/format` says again what it is, `ibuild cache fsck` then what else is damaged; or \
                 remove the store, and it is made anew",
                path.display()
            ),
        });
    }
    if let Some(error) = find::<UserNamespaceError>(error) {
        hints.push(error.hint());
        hints.push("`ibuild doctor` tells all that is missing".to_owned());
    }
    if let Some(error) = find::<TargetError>(error) {
        hints.push(error.hint());
    }
    if let Some(error) = find::<FindStageError>(error) {
        hints.extend(error.hint().map(str::to_owned));
    }
    if let Some(error) = find::<TrialError>(error) {
        hints.extend(error.hint());
    } else if let Some(error) = find::<MachineError>(error) {
        hints.extend(error.hint());
    }
    if let Some(error) = find::<InsideError>(error) {
        hints.extend(error.hint());
    }
    if let Some(error) = find::<MountError>(error) {
        hints.extend(error.hint());
    }
    if let Some(error) = find::<ShellError>(error) {
        hints.extend(error.hint());
    }
    match stage_error(error) {
        Some(error) => hints.extend(error.hint()),
        None => hints.extend(find::<PackageError>(error).and_then(PackageError::hint)),
    }
    if let Some((_, log)) = find(error).and_then(StageError::transcript) {
        hints.push(format!("the full log is at {}", log.display()));
    }
    if let Some(BuildError::<StageError>::Stage { stage, source }) = find(error)
        && source.transcript().is_some()
    {
        hints.push(format!("`ibuild shell --failed {stage}` opens a shell in what it had made"));
    }
    if status(error) == Status::Bug {
        hints.push("this is a mistake in ibuild: please report it with the command that you ran".to_owned());
    }
    hints
}

fn status(error: &anyhow::Error) -> Status {
    if let Some(error) = stage_error(error) {
        return match error {
            StageError::NotLocked { .. } | StageError::LockDrift { .. } | StageError::NotObserved { .. } => {
                Status::Locked
            }
            StageError::Special(_) => Status::Usage,
            error if error.is_environment() => Status::Environment,
            _ => Status::Failed,
        };
    }
    let is = |found: bool, status| found.then_some(status);
    is(find::<UsageError>(error).is_some(), Status::Usage)
        .or(is(find::<TargetError>(error).is_some(), Status::Usage))
        .or(is(find::<FindStageError>(error).is_some(), Status::Usage))
        .or(is(find::<EnvironmentError>(error).is_some(), Status::Environment))
        .or(is(find::<UserNamespaceError>(error).is_some(), Status::Environment))
        .or(is(find::<PackageError>(error).is_some(), Status::Environment))
        .or(is(find::<CheckFailed>(error).is_some(), Status::Failed))
        .or(find::<TrialError>(error).map(trial_status))
        .or(find::<MachineError>(error).map(machine_status))
        .or(find::<InsideError>(error).map(inside_status))
        .or(find::<MountError>(error).map(mount_status))
        .or(is(find::<ShellError>(error).is_some(), Status::Environment))
        .or(is(find_store_error(error).is_some(), Status::Environment))
        .or(is(find::<std::io::Error>(error).is_some(), Status::Environment))
        .unwrap_or(Status::Bug)
}

/// A machine that was started and did not do what was expected has failed; one that could not be started lacks something.
fn machine_status(error: &MachineError) -> Status {
    if error.is_verdict() { Status::Failed } else { Status::Environment }
}

/// What is not there was asked for and found missing.
fn inside_status(error: &InsideError) -> Status {
    match error {
        InsideError::Damaged(_) | InsideError::Stage(_) | InsideError::Write(_) => Status::Environment,
        InsideError::Missing(_)
        | InsideError::NotADirectory(_)
        | InsideError::NotAFile(_)
        | InsideError::TooManyLinks(_) => Status::Failed,
    }
}

fn mount_status(error: &MountError) -> Status {
    match error {
        MountError::NotEmpty(_) | MountError::NotOurs(_) => Status::Usage,
        MountError::Busy | MountError::Refused { .. } | MountError::Stage(_) => Status::Environment,
    }
}

fn trial_status(error: &TrialError) -> Status {
    match error {
        error if error.is_verdict() => Status::Failed,
        error if error.is_usage() => Status::Usage,
        _ => Status::Environment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_not_shown() {
        let check = |text: &str, shown: &str| assert_eq!(without_number(text), shown);
        check("No space left on device (os error 28)", "No space left on device");
        check("cannot copy: Broken (os error 5): twice (os error 28)", "cannot copy: Broken: twice");
        check("(os error x)", "(os error x)");
        check("plain", "plain");
    }
}
