//! This program, called once more by itself.

use std::ffi::OsString;
use std::process::Command;

use ibuild::{Context, Result, SecretFile};

use crate::cli::{Global, SecretArgs, Targets};
use crate::interrupt;

/// This program with the options that stand before a command. `-C` was followed already.
pub(super) fn itself(global: &Global) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    if let Some(dir) = &global.cache_dir {
        command.arg("--cache-dir").arg(dir);
    }
    if let Some(profile) = &global.profile {
        command.args(["--profile", profile.as_str()]);
    }
    command.args(global.quiet.then_some("--quiet"));
    command.args(std::iter::repeat_n("--verbose", usize::from(global.verbose)));
    Ok(command)
}

/// Adds what is to be made.
pub(super) fn add_targets(command: &mut Command, targets: &Targets) {
    command.args(targets.all());
    for var in &targets.vars {
        command.args(["--var", var]);
    }
}

/// The exit status of a command, which hears of Ctrl-C by itself: it is of the same group.
pub(super) fn wait_for(command: &mut Command) -> Result<u8> {
    let _cancel = interrupt::cancel_in_time()?;
    let status = command.status().context("cannot start this program once more")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(130))
}

/// Adds where the values of secrets are. A pipe among them is read by the program that is called.
pub(super) fn add_secrets(command: &mut Command, secrets: &SecretArgs) {
    for SecretFile { name, path, .. } in &secrets.secrets {
        let mut given = OsString::from(format!("{name}="));
        given.push(path);
        command.arg("--secret").arg(given);
    }
}
