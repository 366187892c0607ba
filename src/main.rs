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

fn main() -> ExitCode {
    ibuild::begin();
    if std::env::args_os().nth(1).is_some_and(|word| word == MOUNT_KEEPER) {
        return commands::keep_mount(&std::env::args().nth(2).unwrap_or_default());
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
