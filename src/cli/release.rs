//! Commands that publish: releases and build records.

use std::path::PathBuf;

use clap::Args;
use ibuild::release::Signer;

use super::{SecretArgs, Targets};

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Version of the release [default: what `git describe` says]
    #[arg(long, value_name = "V")]
    pub version: Option<String>,
    /// Earlier release: its folder, or a file in it; writes what changed since
    #[arg(long, value_name = "DIR|FILE")]
    pub previous: Option<PathBuf>,
    /// Sign with `gpg:KEY`, `minisign:FILE` or `command:COMMAND`; repeat for several signatures
    #[arg(long, value_name = "HOW")]
    pub sign: Vec<Signer>,
    /// The release folder [default: `out/PROJECT-VERSION` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Check a release folder and make none
    #[arg(long, value_name = "DIR", conflicts_with_all = ["named", "targets", "vars", "version", "previous", "sign", "output", "offline", "locked", "secrets"])]
    pub check: Option<PathBuf>,
    /// Public key that has to have signed the checked folder: OpenPGP or minisign
    #[arg(long, value_name = "FILE", requires = "check")]
    pub key: Option<PathBuf>,
    /// Use only files that are in the store; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Fail if the lock does not cover an archive, or if stages use other packages than it lists
    #[arg(long)]
    pub locked: bool,
    /// Fill this folder and sign nothing: what the command calls itself for, as root of a user namespace
    #[arg(long, hide = true, value_name = "DIR", conflicts_with_all = ["check", "sign", "output"])]
    pub fill: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct AttestArgs {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Sign with `gpg:KEY`, `minisign:FILE` or `command:COMMAND`; repeat for several signatures
    #[arg(long, value_name = "HOW")]
    pub sign: Vec<Signer>,
    /// Write the record to a file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckAttestationArgs {
    /// Build record: signed or not
    pub file: PathBuf,
    /// Build first what is not in the store
    #[arg(long)]
    pub rebuild: bool,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Public key that has to have signed the record: OpenPGP or minisign
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Value of a variable of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// Use only files that are in the store; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
