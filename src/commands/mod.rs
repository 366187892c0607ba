//! One file for each command.

mod attest;
mod boot;
mod build;
mod builds;
mod cache;
mod clean;
mod complete;
mod completions;
mod diff;
mod doctor;
mod explain;
mod graph;
mod init;
mod inside;
mod itself;
mod lock;
mod log;
mod man;
mod packages;
mod plan;
mod proxy;
mod recipe;
mod release;
mod shell;
mod stats;
mod test;
mod update;
mod verify;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use ibuild::{Context, Result, UsageError, become_root};

pub use complete::run as complete;
pub use inside::keep as keep_mount;

use crate::cli::{CacheCommand, Cli, Command, PackagesCommand};

/// Whether a command makes, enters, looks into or removes root file systems, whose files belong to all kinds of users.
/// The others only read what belongs to whoever owns the store.
fn handles_root_file_systems(command: &Command) -> bool {
    use CacheCommand::{Export, Fsck, Gc, Import, Ls, Pin, Rm, Show, Stats, Unpin, Verify};
    match command {
        Command::Build(_)
        | Command::Shell(_)
        | Command::Cat(_)
        | Command::Diff(_)
        | Command::Verify(_)
        | Command::CheckAttestation(_)
        | Command::Test(_) => true,
        // Who signs does so as the user that has the keys, and calls itself for the rest.
        Command::Release(args) => args.fill.is_some(),
        Command::Attest(args) => args.sign.is_empty(),
        Command::Packages { command } => matches!(command, PackagesCommand::Sources(_)),
        Command::Cache { command } => match command {
            Show(_) | Stats(_) | Fsck(_) | Gc(_) | Import(_) | Rm { .. } => true,
            Ls(_) | Verify(_) | Pin(_) | Unpin(_) | Export(_) => false,
        },
        Command::Init(_)
        | Command::Plan(_)
        | Command::Explain(_)
        | Command::Graph(_)
        | Command::Log(_)
        | Command::Builds(_)
        | Command::Stats(_)
        | Command::Watch(_)
        | Command::Boot(_)
        | Command::Lock(_)
        | Command::Ls(_)
        | Command::Mount(_)
        | Command::Umount(_)
        | Command::Update(_)
        | Command::Proxy(_)
        | Command::Clean(_)
        | Command::Doctor(_)
        | Command::Recipe { .. }
        | Command::Completions { .. }
        | Command::Man(_) => false,
    }
}

/// Does the command.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    if let Some(dir) = &global.directory {
        work_in(dir)?;
    }
    if handles_root_file_systems(&cli.command) {
        become_root()?;
    }
    match &cli.command {
        Command::Init(args) => init::run(args),
        Command::Build(args) => build::run(global, args),
        Command::Plan(args) => plan::run(global, args),
        Command::Explain(args) => explain::run(global, args),
        Command::Graph(args) => graph::run(global, args),
        Command::Shell(args) => shell::run(global, args),
        Command::Diff(args) => diff::run(global, args),
        Command::Builds(args) => builds::run(global, args),
        Command::Watch(args) => watch::run(global, args),
        Command::Release(args) => release::run(global, args),
        Command::Attest(args) => attest::run(global, args),
        Command::CheckAttestation(args) => attest::check(global, args),
        Command::Stats(args) => stats::run(global, args),
        Command::Log(args) => log::run(global, args),
        Command::Ls(args) => inside::ls(global, args),
        Command::Cat(args) => inside::cat(global, args),
        Command::Mount(args) => inside::mount(global, args),
        Command::Umount(args) => inside::umount(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Test(args) => test::run(global, args),
        Command::Boot(args) => boot::run(global, args),
        Command::Lock(args) => lock::run(global, args),
        Command::Update(args) => update::run(global, args),
        Command::Proxy(args) => proxy::run(global, args),
        Command::Packages { command } => packages::run(global, command),
        Command::Cache { command } => cache::run(global, command),
        Command::Clean(args) => clean::run(global, args),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Recipe { command } => recipe::run(global, command),
        Command::Completions { shell } => completions::run(*shell),
        Command::Man(args) => man::run(args),
    }
}

/// As in git, every relative path on the command line is meant from there.
fn work_in(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        return Err(UsageError::new(format!("there is no directory `{}`", dir.display())).into());
    }
    std::env::set_current_dir(dir).with_context(|| format!("cannot work in `{}`", dir.display()))
}
