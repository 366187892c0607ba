//! The program: takes the command line apart, does one command, gives an exit status.

#![allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "what libraries leave to the program: to listen and to stop"
)]

mod cli;
mod commands;
mod described;
mod failure;
mod interrupt;
mod invocation;
mod junit;
mod markup;
mod status;
mod table;
mod templates;
mod terminal;
mod ui;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use invocation::Invocation;

/// What makes this program the keeper of a mount. Not for people either.
const MOUNT_KEEPER: &str = "__mount-keeper";

/// What makes this program list the names that a word may become. For the completions of shells.
const COMPLETER: &str = "__complete";

fn main() -> ExitCode {
    ibuild::begin();
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    match words.next().as_deref() {
        Some(MOUNT_KEEPER) => return commands::keep_mount(&words.next().unwrap_or_default()),
        Some(COMPLETER) => return commands::complete(&words.collect::<Vec<_>>()),
        _ => {}
    }
    let cli = cli::Cli::parse();
    let style = terminal::style(cli.global.color);
    terminal::start_log(cli.global.verbose, style);
    // Whatever a panic left half done, nobody looks at it any more.
    let done = catch_unwind(AssertUnwindSafe(|| commands::run(&cli)));
    let done = done.unwrap_or_else(|_| Err(failure::Panicked.into()));
    match done.and_then(|code| terminal::all_reported().map(|()| code).map_err(Into::into)) {
        Ok(code) => code,
        Err(error) => failure::report(&error, style, &Invocation::of(&cli.global)),
    }
}
