//! Commands about the store.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ibuild::release::Signer;

use super::JsonArgs;

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the results of stages
    Ls(JsonArgs),
    /// Show everything that is known about a stage or an action
    Show(ShowArgs),
    /// Show how much space each part of the store takes
    Stats(JsonArgs),
    /// Verify all blobs and packages; damaged ones are removed, and made again when needed
    Verify(JsonArgs),
    /// Check that all facts of the index are true, and repair those that are not
    Fsck(JsonArgs),
    /// Remove what no build, pin or failed stage needs any more
    Gc(GcArgs),
    /// Keep the result of a stage or target, whatever else is removed
    Pin(PinArgs),
    /// Remove a pin
    Unpin(PinArgs),
    /// Write the results of stages or targets, and of everything that they need, into an archive
    Export(ExportArgs),
    /// Take the results of an archive into the store: all of them, or none
    Import(ImportArgs),
    /// Remove the result of a stage
    Rm {
        /// Stage (`rootfs/step`, `rootfs`) or target
        #[arg(required_unless_present = "stages")]
        stage: Option<String>,
        /// Remove the results of all stages; packages stay
        #[arg(long, conflicts_with = "stage")]
        stages: bool,
    },
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Also remove results that are needed, the cheapest to make again first, until the store takes no more than SIZE
    /// [default: `cache-budget` in `ibuild.local.toml`, else no limit]
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<ibuild::stages::spec::ByteSize>,
    /// Keep the last N builds of each target
    #[arg(long, value_name = "N", default_value = "3")]
    pub keep: std::num::NonZeroUsize,
    /// Also remove packages if the budget cannot be met otherwise; a locked build then needs a mirror that has them
    #[arg(long)]
    pub packages: bool,
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for running builds
    #[arg(long)]
    pub wait: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Stages, targets, or images in all their formats [default: everything that the recipe lists]
    #[arg(value_name = "STAGE|TARGET")]
    pub names: Vec<String>,
    /// File, or directory if it is one or ends with `/`; `-` is standard output [default: `-`]
    #[arg(long, value_name = "FILE|DIR")]
    pub to: Option<PathBuf>,
    /// Also write the packages that the stages used, and the states of their archives
    #[arg(long)]
    pub with_packages: bool,
    /// Sign with `gpg:KEY`, `minisign:FILE` or `command:COMMAND`
    #[arg(long, value_name = "HOW")]
    pub sign: Option<Signer>,
    /// Value of a variable of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File or directory of `ibuild cache export`; `-` is standard input
    pub from: PathBuf,
    /// Refuse an archive that this public key has not signed: OpenPGP or minisign
    #[arg(long, value_name = "KEY")]
    pub require_signature: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PinArgs {
    /// Stage (`rootfs/step`, `rootfs`), target, or image in all its formats
    pub name: String,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Stage (`rootfs/step`, `rootfs`), target, or the first digits of an action key
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
