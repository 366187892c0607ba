//! The command line as data. Parsing does nothing else.

mod archive;
mod cache;
mod history;
mod machine;
mod release;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ibuild::SecretFile;
use ibuild::stages::recipe::ProfileName;

use archive::PROXY_HELP;
pub use archive::{LockArgs, PackagesCommand, ProxyArgs, UpdateArgs};
pub use cache::{CacheCommand, ExportArgs, GcArgs, ImportArgs, PinArgs, ShowArgs};
pub use history::{BuildsArgs, DiffArgs, WatchArgs};
pub use machine::{BootArgs, TestArgs};
pub use release::{AttestArgs, CheckAttestationArgs, ReleaseArgs};
pub use verify::VerifyArgs;

/// Builds images of Debian-derived virtual machines incrementally.
#[derive(Debug, Parser)]
#[command(name = "ibuild", version, max_term_width = 100, propagate_version = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Global {
    /// Run as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Directory of the store [default: `/var/cache/ibuild` as root, else `~/.cache/ibuild`]
    #[arg(long, value_name = "DIR", env = "IBUILD_CACHE_DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// Profile of the recipe: `[profile.NAME]` replaces variables and formats, and has steps of its own
    #[arg(long, value_name = "NAME", global = true)]
    pub profile: Option<ProfileName>,
    /// When to use colours; `never` also disables progress lines that move the cursor
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: ColorChoice,
    /// Suppress progress and notes; print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log lookups, mounts, captures and downloads; repeat for more detail
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a project from a template
    Init(InitArgs),
    /// Build targets
    Build(BuildArgs),
    /// Show which stages a build would run, and why; runs nothing
    Plan(PlanArgs),
    /// Explain why a stage ran, or would run
    Explain(ExplainArgs),
    /// Print the graph of stages
    Graph(GraphArgs),
    /// Open a shell in a temporary copy of the output of a stage
    Shell(ShellArgs),
    /// List a directory in the output of a stage, or in a target
    Ls(LsArgs),
    /// Print a file from the output of a stage, or from a target
    Cat(CatArgs),
    /// Mount the output of a stage or a target, read-only; needs root
    Mount(MountArgs),
    /// Unmount what `ibuild mount` mounted
    Umount(UmountArgs),
    /// Compare the output of two stages, or of two builds of one: files and packages
    Diff(DiffArgs),
    /// Print the log of the last run of a stage
    Log(LogArgs),
    /// Run stages once more, and compare what they make with what is in the store
    Verify(VerifyArgs),
    /// Put images with checksums, lists, bills of materials, build records and signatures into one folder, or check one
    Release(ReleaseArgs),
    /// Print the build record of targets: in-toto statement with SLSA provenance
    Attest(AttestArgs),
    /// Compare somebody's build record with what is built here. Exit status: 0 if equal, 1 if not, 3 if that is not known
    CheckAttestation(CheckAttestationArgs),
    /// Build again whenever a file of the project is saved
    Watch(WatchArgs),
    /// List the builds that the store remembers
    Builds(BuildsArgs),
    /// Show how much came out of the store, and which stages are slow or large
    Stats(JsonArgs),
    /// Run the recipe's machine tests
    Test(TestArgs),
    /// Boot a target as a virtual machine
    Boot(BootArgs),
    /// Lock the archives and packages that the project is built from
    Lock(LockArgs),
    /// Update the lock to the present state of the mirrors, and list the changes
    Update(UpdateArgs),
    /// Serve Debian packages from the store to other machines and containers
    #[command(after_help = PROXY_HELP)]
    Proxy(ProxyArgs),
    /// Query the packages that stages use
    Packages {
        #[command(subcommand)]
        command: PackagesCommand,
    },
    /// Inspect and clean up the store
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Remove built targets from the output directory
    Clean(CleanArgs),
    /// Check the host for missing tools and settings
    Doctor(JsonArgs),
    /// Check or show the recipe
    Recipe {
        #[command(subcommand)]
        command: RecipeCommand,
    },
    /// Print a shell completion script
    Completions {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
    /// Print the manual page of a command, or write all of them into a directory
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command, as in `man cache gc` [default: ibuild itself]
    pub command: Vec<String>,
    /// Write the pages of all commands into DIR; created if missing
    #[arg(long, short, value_name = "DIR", conflicts_with = "command")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Template: `hello`, `server`, `pair` or `from-shell`; another name is the directory [default: `hello`]
    pub template: Option<String>,
    /// Directory of the project; created if missing [default: this one]
    pub dir: Option<PathBuf>,
}

/// What to build.
#[derive(Debug, Args)]
pub struct Targets {
    /// Target: `image.format`, or an image in all its formats [default: all images]
    #[arg(value_name = "TARGET", value_delimiter = ',')]
    pub named: Vec<String>,
    /// The same as an option
    #[arg(long = "target", short, value_name = "TARGET", num_args = 1.., value_delimiter = ',')]
    pub targets: Vec<String>,
    /// Value of a variable of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
}

impl Targets {
    /// All that were named, wherever they stood.
    pub fn all(&self) -> Vec<String> {
        [self.named.as_slice(), self.targets.as_slice()].concat()
    }
}

/// Values of secrets.
#[derive(Debug, Clone, Default, Args)]
pub struct SecretArgs {
    /// Read a secret that steps ask for by name from FILE
    #[arg(long = "secret", value_name = "NAME=FILE")]
    pub secrets: Vec<SecretFile>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Use only files that are in the store; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Fail if the lock does not cover an archive, or if stages use other packages than it lists
    #[arg(long)]
    pub locked: bool,
    /// Number of stages that run in parallel [default: the number of cores]
    #[arg(long, short, value_name = "N", env = "IBUILD_JOBS")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Run with a low priority: nice 10, and the disk when nobody else needs it
    #[arg(long)]
    pub nice: bool,
    /// Make shell scripts print their commands (`-x`); scripts can observe this, so it counts as a change
    #[arg(long)]
    pub debug: bool,
    /// When a stage fails, go on with the stages that do not need it
    #[arg(long)]
    pub keep_going: bool,
    /// When a stage fails, open a shell in its root file system
    #[arg(long)]
    pub shell_on_failure: bool,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Run this stage and all stages that need it, even if their results are stored
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Output directory [default: `out` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Print events as JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Stage (`rootfs/step`, `rootfs`) or target; `@N` appended: why it ran N builds before the last one
    pub name: String,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Output format
    #[arg(long, default_value = "dot")]
    pub format: GraphFormat,
}

/// Formats of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Dot,
    Mermaid,
    Svg,
    Html,
    Json,
}

#[derive(Debug, Args)]
pub struct ShellArgs {
    /// Stage: `rootfs/step`, or `rootfs` for its last step
    pub stage: String,
    /// Use the root file system that the stage had when it failed
    #[arg(long)]
    pub failed: bool,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Command to run instead of a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// Stage (`rootfs/step`, or `rootfs` for its last step), or a target that was built
    pub name: String,
    /// Path inside; symbolic links are resolved inside as well
    #[arg(default_value = "/")]
    pub path: OsString,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SourcesArgs {
    /// Stage (`rootfs/step`, or `rootfs` for its last step), or a target that was built
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CatArgs {
    /// Stage (`rootfs/step`, or `rootfs` for its last step), or a target that was built
    pub name: String,
    /// Path inside; symbolic links are resolved inside as well
    pub path: OsString,
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// Stage (`rootfs/step`, or `rootfs` for its last step), or a target that was built
    pub name: String,
    /// Mount point, an empty directory
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct UmountArgs {
    /// Mount point
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Stage (`rootfs/step`, `rootfs`) or target [default: the one that ran last]
    pub stage: Option<String>,
    /// Print the log unchanged, with colours and other terminal escapes
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Target: `image.format`, or an image in all its formats [default: all]
    pub target: Option<String>,
    /// Output directory [default: `out` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Report errors in the recipe
    Check,
    /// Print the recipe with all defaults filled in
    Show(JsonArgs),
}

#[cfg(test)]
mod reference;
