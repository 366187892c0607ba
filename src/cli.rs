//! The command line as data. Parsing does nothing else.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ibuild::stages::packages::Staleness;
use ibuild::stages::spec::hardware::{DiskBus, Firmware};

/// Builds images of Debian-derived virtual machines, and does again only what changed.
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
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Where everything is remembered [default: /var/cache/ibuild as root, else ~/.cache/ibuild]
    #[arg(long, value_name = "DIR", env = "IBUILD_CACHE_DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// When to use colours; `never` also means no moving lines
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: ColorChoice,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what is looked up, mounted, captured and fetched; twice, still more
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
    /// Start a project
    Init(InitArgs),
    /// Make targets
    Build(BuildArgs),
    /// Show what a build would do, and why; runs nothing
    Plan(PlanArgs),
    /// Say why a stage ran, or would run
    Explain(ExplainArgs),
    /// Draw the stages
    Graph(GraphArgs),
    /// Open a shell in a throw-away copy of what a stage made
    Shell(ShellArgs),
    /// List a directory of what a stage made, or of what a target holds
    Ls(LsArgs),
    /// Print a file of what a stage made, or of what a target holds
    Cat(CatArgs),
    /// Mount what a stage made, or what a target holds, to be looked at; needs root
    Mount(MountArgs),
    /// Take such a mount away
    Umount(UmountArgs),
    /// Show the output of a stage's last run
    Log(LogArgs),
    /// Do the recipe's machine tests
    Test(TestArgs),
    /// Start a target as a virtual machine
    Boot(BootArgs),
    /// Write down which archives and packages the project is built from
    Lock(LockArgs),
    /// Move the lock to what the mirrors have now, and say what changes
    Update(UpdateArgs),
    /// Serve Debian's packages to other machines and containers, out of the cache
    #[command(after_help = PROXY_HELP)]
    Proxy(ProxyArgs),
    /// Look into what stages are made of
    Packages {
        #[command(subcommand)]
        command: PackagesCommand,
    },
    /// Look into the cache
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Remove finished targets
    Clean(CleanArgs),
    /// Check what the host lacks
    Doctor(JsonArgs),
    /// Check or show the recipe
    Recipe {
        #[command(subcommand)]
        command: RecipeCommand,
    },
    /// Print a script that completes command lines
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// What to start from
    #[arg(default_value = "hello")]
    pub template: String,
    /// Where; made if it is not there
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// What to build.
#[derive(Debug, Args)]
pub struct Targets {
    /// What to make: `image.format`, or an image in all its formats
    #[arg(long = "target", short, value_name = "TARGET", num_args = 1..)]
    pub targets: Vec<String>,
    /// Values for variables of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub targets: Targets,
    /// Use only what is in the cache; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Fail if the lock does not cover an archive, or if stages use other packages than it says
    #[arg(long)]
    pub locked: bool,
    /// Stages at a time [default: the number of cores]
    #[arg(long, short, value_name = "N", env = "IBUILD_JOBS")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Leave cores and disks to others
    #[arg(long)]
    pub nice: bool,
    /// Let shell scripts print their commands; they can see that, so it counts like a changed script
    #[arg(long)]
    pub debug: bool,
    /// When a stage fails, go on with what does not need it
    #[arg(long)]
    pub keep_going: bool,
    /// When a stage fails, open a shell in what it had made
    #[arg(long)]
    pub shell_on_failure: bool,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// Run this stage and all after it, whether or not their results are there
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Where to put targets [default: `out` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub targets: Targets,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A stage (`rootfs/step`, `rootfs`) or a target; with `@N`, why it ran N builds before the last one
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    /// How
    #[arg(long, default_value = "dot")]
    pub format: GraphFormat,
}

/// How a graph is drawn.
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
    /// `rootfs/step`, or `rootfs` for its last step
    pub stage: String,
    /// What it had made when it failed
    #[arg(long)]
    pub failed: bool,
    /// Run this instead of a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// `rootfs/step`, `rootfs` for its last step, or a target that was built
    pub name: String,
    /// A path inside; links are followed as a program inside would
    #[arg(default_value = "/")]
    pub path: OsString,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SourcesArgs {
    /// `rootfs/step`, `rootfs` for its last step, or a target that was built
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CatArgs {
    /// `rootfs/step`, `rootfs` for its last step, or a target that was built
    pub name: String,
    /// A path inside; links are followed as a program inside would
    pub path: OsString,
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// `rootfs/step`, `rootfs` for its last step, or a target that was built
    pub name: String,
    /// An empty directory
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct UmountArgs {
    /// Where it is mounted
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// `rootfs/step`, `rootfs` or a target [default: what ran last]
    pub stage: Option<String>,
    /// Byte by byte, with colours and whatever else the stage told a terminal
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The tests [default: all]
    pub names: Vec<String>,
    /// Do also those again that have passed and of which nothing has changed
    #[arg(long)]
    pub again: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BootArgs {
    /// The target, which has to be built
    pub target: String,
    /// Succeed as soon as a line of the console matches; without it the console is yours until the machine stops
    #[arg(long, value_name = "REGEX")]
    pub until: Option<String>,
    /// Give up after so many seconds [default: 240 with `--until`, else never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// What starts the machine [default: what the recipe says]
    #[arg(long, value_name = "FIRMWARE", value_parser = word_of(Firmware::WORDS))]
    pub firmware: Option<Firmware>,
    /// What its disk is attached to [default: what the recipe says]
    #[arg(long, value_name = "BUS", value_parser = word_of(DiskBus::WORDS))]
    pub disk_bus: Option<DiskBus>,
    /// Keep a picture of the display (PNG)
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,
}

/// One of the words that recipes have, too.
fn word_of<T: Copy + Send + Sync>(words: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let known = PossibleValuesParser::new(words.iter().map(|(word, _)| *word));
    known.map(|given| words.iter().find(|(word, _)| *word == given).expect("the parser knows these").1)
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Change nothing, but look at the mirrors. Ends with 0 if they have what is locked, 10 if their state has moved but no
    /// locked package, 20 if locked packages have other versions, 30 if the locked state is past its time
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Archives, or packages: an archive moves only if one of these packages has another version [default: all archives]
    pub names: Vec<String>,
    /// Take a state of an archive whose time is over
    #[arg(long)]
    pub allow_expired: bool,
    /// Take a state of an archive that is older than the locked one
    #[arg(long)]
    pub allow_rollback: bool,
}

impl UpdateArgs {
    /// What is taken all the same.
    pub fn tolerated(&self) -> Vec<Staleness> {
        let wanted = |is_wanted: bool, staleness| is_wanted.then_some(staleness);
        let expired = wanted(self.allow_expired, Staleness::Expired);
        expired.into_iter().chain(wanted(self.allow_rollback, Staleness::RolledBack)).collect()
    }
}

/// The port that apt's proxies are usually at.
const PROXY_PORT: u16 = 3142;

const PROXY_HELP: &str = "\
A client says in a file below `/etc/apt/apt.conf.d`:

    Acquire::http::Proxy \"http://127.0.0.1:3142\";

Debian's own archives and the configured mirrors are served, nothing else. `/` shows a page of what was done, `/metrics` the
same for Prometheus. Every request is a line of JSON on standard output.";

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT)))]
    pub listen: SocketAddr,
    /// Who may ask besides this machine: a network like `192.0.2.0/24`
    #[arg(long, value_name = "NETWORK")]
    pub allow: Vec<ibuild::stages::packages::Network>,
    /// Where to fetch Debian's archive from; several are asked in this order [default: as `ibuild.local.toml` says, else as
    /// this machine's apt does]
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,
    /// Where to fetch Debian's security archive from
    #[arg(long, value_name = "URL")]
    pub security_mirror: Vec<String>,
    /// Whose signatures to trust
    #[arg(long, value_name = "FILE", default_value = ibuild::stages::packages::DEBIAN_KEYRING)]
    pub keyring: PathBuf,
    /// For how long a suite's state is served without a look at the mirror
    #[arg(long, value_name = "SECONDS", default_value_t = ibuild::stages::packages::Live::MAX_AGE.as_secs())]
    pub max_age: u64,
}

#[derive(Debug, Subcommand)]
pub enum PackagesCommand {
    /// List the packages that the project's stages use
    Ls(JsonArgs),
    /// Say which stages use a package, and what needs it there
    Why {
        /// The package
        name: String,
    },
    /// Take all packages below a directory into the cache: that of another proxy, /var/cache/apt/archives, a disc
    Import {
        /// The directory
        dir: PathBuf,
    },
    /// List the source packages of all that is installed: name, version, licences, address, packages
    Sources(SourcesArgs),
    /// Count the packages that are there and those that the project needs
    Stats(JsonArgs),
    /// Read all packages again; what is damaged is removed, and fetched again when needed
    Verify(JsonArgs),
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List what stages have made
    Ls(JsonArgs),
    /// Show all that is known of a stage or an action
    Show(ShowArgs),
    /// Count what is there
    Stats(JsonArgs),
    /// Read everything again; what is damaged is removed, and made again when needed
    Verify(JsonArgs),
    /// Check that all facts are true, and repair what is not
    Fsck(JsonArgs),
    /// Remove what is not needed any more
    Gc(GcArgs),
    /// Keep what a stage made, whatever else goes
    Pin(PinArgs),
    /// Take a pin away
    Unpin(PinArgs),
    /// Forget what a stage made
    Rm {
        /// `rootfs/step`, `rootfs` or a target
        #[arg(required_unless_present = "stages")]
        stage: Option<String>,
        /// Forget all stages; packages stay
        #[arg(long, conflicts_with = "stage")]
        stages: bool,
    },
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Remove also what is needed, the cheapest to make again first, until the store takes no more than SIZE [default:
    /// `cache-budget` in `ibuild.local.toml`, else no limit]
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<ibuild::stages::spec::ByteSize>,
    /// Keep the last N builds of each target
    #[arg(long, value_name = "N", default_value = "3")]
    pub keep: std::num::NonZeroUsize,
    /// Let packages go too, if the budget cannot be met otherwise; a locked build then needs a mirror that has them
    #[arg(long)]
    pub packages: bool,
    /// Only say what would go
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
pub struct PinArgs {
    /// `rootfs/step`, `rootfs`, a target, or an image in all its formats
    pub name: String,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// `rootfs/step`, `rootfs`, a target, or the first digits of an action key
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// `image.format`, or an image [default: all]
    pub target: Option<String>,
    /// Where targets were put [default: `out` beside the recipe]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// Say what is wrong with the recipe
    Check,
    /// Print the recipe with everything filled in
    Show(JsonArgs),
}
