//! `ibuild completions`: a script that completes command lines.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use ibuild::Result;

use crate::cli::Cli;
use crate::terminal::print;

pub fn run(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ibuild", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
