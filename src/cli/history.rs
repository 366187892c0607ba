//! Commands about builds that follow each other.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{SecretArgs, Targets};

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Stage, or a target that was built; `@N` appended: as it was N builds before the last one
    pub old: String,
    /// The same for the other side
    pub new: String,
    /// List the files only, without their lines
    #[arg(long)]
    pub stat: bool,
    /// Value of a variable of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BuildsArgs {
    /// Only the last N builds
    #[arg(long, value_name = "N")]
    pub last: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Use only files that are in the store; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Output directory [default: `out` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}
