//! What the terminal can do and what the user wants of it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{ColorChoice, Global};

/// Whether colours are used on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

/// `--color`, then `NO_COLOR` and `CLICOLOR_FORCE`, then what standard error is.
pub fn style(choice: ColorChoice) -> Style {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colour = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if is_set("NO_COLOR") => false,
        ColorChoice::Auto if is_set("CLICOLOR_FORCE") => true,
        ColorChoice::Auto => is_interactive(),
    };
    if colour { Style::Colour } else { Style::Plain }
}

/// Whether somebody looks at standard error and the terminal can move its cursor.
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether progress may be shown by moving the cursor. Who forbids colours wants a text without any of a terminal's
/// sequences, and lines of a log would be written over.
pub fn moves_cursor(global: &Global) -> bool {
    global.color != ColorChoice::Never && global.verbose == 0 && is_interactive()
}

/// Text in a colour, if colours are used.
pub fn paint(style: Style, code: &str, text: &str) -> String {
    match style {
        Style::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        Style::Plain => text.to_owned(),
    }
}

/// Characters that turn the direction of writing (Unicode's UAX 9).
const TURNING: std::ops::RangeInclusive<char> = '\u{202a}'..='\u{202e}';

/// Text that may have names in it which somebody else chose, without what would make a terminal do things, or turn the order
/// of what it shows.
pub fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || TURNING.contains(&c);
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for a name in a list, where a line is a thing.
pub fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', "\u{fffd}")
}

/// Data that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[source] pub io::Error);

/// Writes data to standard output. A reader that has gone away, as `head` does, has seen what it wanted. Nothing else of
/// the program prints there: `println!` panics where this is an error.
pub fn print(text: &str) -> Result<(), OutputError> {
    write(text.as_bytes())
}

/// The same with bytes that need not be text.
pub fn write(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// What came of writing to standard output.
pub fn written(written: io::Result<()>) -> Result<(), OutputError> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(OutputError),
    }
}

/// Writes a document for programs to standard output. Every one has the version of its meaning.
pub fn print_json(mut document: serde_json::Value) -> Result<(), OutputError> {
    document["v"] = serde_json::json!(1);
    print(&format!("{document:#}\n"))
}

/// The first thing that could not be reported.
static UNREPORTED: Mutex<Option<OutputError>> = Mutex::new(None);

/// Writes what a command reports on its way, as a build does: it goes on if that cannot be written, and fails at its end.
pub fn report(text: &str) {
    if let Err(error) = print(text) {
        UNREPORTED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether all that was reported has been written.
pub fn all_reported() -> Result<(), OutputError> {
    let unreported = UNREPORTED.lock().unwrap_or_else(PoisonError::into_inner).take();
    unreported.map_or(Ok(()), Err)
}

/// Writes a line to standard error. Where that is closed or full there is nobody to tell, and no reason to stop.
pub fn tell_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells people something: as `eprintln!`, which panics where nobody can be told.
macro_rules! tell {
    ($($text:tt)*) => { $crate::terminal::tell_line(format_args!($($text)*)) };
}

pub(crate) use tell;

/// Tells people something that they need not know, unless they want to hear only of what went wrong.
pub fn note(global: &Global, text: &str) {
    if !global.quiet {
        tell!("note    {}", harmless(text));
    }
}

/// A terminal that passes every key on as it is. Dropped, it is as it was.
#[must_use = "the terminal is raw only as long as this value lives"]
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// Switches the terminal on standard input.
    pub fn enter() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Only fails when the terminal is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// What the libraries trace goes to standard error from `-v` on.
pub fn start_log(verbose: u8, style: Style) {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let colours = style == Style::Colour;
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // Where they cannot be written nobody can be told, and `eprintln!` would panic.
    log.with_ansi(colours).with_target(false).without_time().log_internal_errors(false).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(
            harmless("a\x1b]0;title\x07\r\nb\tc\u{9b}1m"),
            "a\u{fffd}]0;title\u{fffd}\u{fffd}\nb\tc\u{fffd}1m"
        );
    }
}
