//! Errors for people, and which exit status each has.

use std::io;
use std::process::ExitCode;

use ibuild::stages::StageError;
use ibuild::stages::recipe::{RecipeErrors, Style as RecipeStyle};
use ibuild::{Classified, Error, ErrorKind};

use crate::interrupt;
use crate::invocation::Invocation;
use crate::status::Status;
use crate::terminal::{OutputError, Style, harmless, paint, tell};

/// The program is wrong; what was wrong has been said when it was.
#[derive(Debug, thiserror::Error)]
#[error("a panic ended the command")]
pub struct Panicked;

impl Classified for Panicked {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Bug
    }
}

impl Classified for OutputError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        let is_full = matches!(self.0.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let hint = "make room where standard output leads, or send it to another place";
        is_full.then(|| hint.to_owned()).into_iter().collect()
    }
}

/// Prints an error with its causes and what to do, and gives the exit status for it.
pub fn report(error: &Error, style: Style, invocation: &Invocation) -> ExitCode {
    if let Some(errors) = error.find::<RecipeErrors>() {
        let style = if style == Style::Colour { RecipeStyle::Colour } else { RecipeStyle::Plain };
        tell!("{}", errors.render(style).trim_end());
        return Status::Usage.into();
    }
    // Who is asked to stop fails in many ways: a program of ours that heard the same signal may have ended first.
    if error.kind() == ErrorKind::Interrupted || interrupt::is_asked() && error.kind() != ErrorKind::Bug {
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
    if let Some((tail, _)) = error.find().and_then(StageError::transcript) {
        tail.iter().for_each(|line| tell!("  | {line}"));
    }
    for hint in error.hints() {
        tell!("{} {}", paint(style, "1;36", "hint:"), harmless(&invocation.in_hint(hint)));
    }
    Status::of(error.kind()).into()
}

/// An error and its causes in a line.
pub fn in_a_line(error: &Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The system's words for an error say enough: its number, which Rust adds, is for nobody.
fn without_number(text: &str) -> String {
    let Some((before, rest)) = text.split_once(" (os error ") else { return text.to_owned() };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(')');
    after.map_or_else(|| text.to_owned(), |after| format!("{before}{}", without_number(after)))
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
