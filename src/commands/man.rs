//! `ibuild man`: manual pages, made of what `--help` says.

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use ibuild::{Context, Result, UsageError};

use crate::cli::{Cli, ManArgs};
use crate::terminal::write;

pub fn run(args: &ManArgs) -> Result<ExitCode> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Only then have commands the options of all, and their full names.
    program.build();
    match &args.output {
        Some(dir) => fs::create_dir_all(dir)
            .and_then(|()| write_pages(&program, dir))
            .with_context(|| format!("cannot write manual pages into `{}`", dir.display()))?,
        None => {
            let mut text = Vec::new();
            page(find(&program, &args.command)?).render(&mut text).expect("memory");
            write(&text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages of a command and of those below it.
fn write_pages(command: &Command, dir: &Path) -> io::Result<()> {
    page(command).generate_to(dir)?;
    command.get_subcommands().try_for_each(|below| write_pages(below, dir))
}

/// Has no date: the same program prints the same page.
fn page(command: &Command) -> Man {
    Man::new(command.clone()).source(concat!("ibuild ", env!("CARGO_PKG_VERSION"))).manual("ibuild")
}

/// A command by its words: `cache`, `gc`.
fn find<'a>(program: &'a Command, words: &[String]) -> Result<&'a Command> {
    let found = words.iter().try_fold(program, |command, word| command.find_subcommand(word));
    found.ok_or_else(|| {
        let error = UsageError::new(format!("there is no command `{}`", words.join(" ")));
        error.hint("`ibuild man` lists all commands").into()
    })
}
