//! One file for each command.

mod boot;
mod build;
mod cache;
mod clean;
mod completions;
mod doctor;
mod explain;
mod graph;
mod init;
mod log;
mod plan;
mod recipe;
mod shell;
mod update;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};

/// Does the command.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => init::run(global, args),
        Command::Build(args) => build::run(global, args),
        Command::Plan(args) => plan::run(global, args),
        Command::Explain(args) => explain::run(global, args),
        Command::Graph(args) => graph::run(global, args),
        Command::Shell(args) => shell::run(global, args),
        Command::Log(args) => log::run(global, args),
        Command::Boot(args) => boot::run(global, args),
        Command::Update(args) => update::run(global, args),
        Command::Cache { command } => cache::run(global, command),
        Command::Clean(args) => clean::run(global, args),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Recipe { command } => recipe::run(global, command),
        Command::Completions { shell } => completions::run(*shell),
    }
}
