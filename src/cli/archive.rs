//! Commands about archives and their packages.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ibuild::stages::packages::Staleness;

use super::{JsonArgs, SourcesArgs};

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Compare the lock with the mirrors and change nothing. Exit status: 0 if the mirrors have the locked state, 10 if the
    /// state has changed but no locked package, 20 if locked packages have other versions, 30 if the locked state has expired
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Archives, or packages: an archive is updated only if one of these packages has another version [default: all archives]
    pub names: Vec<String>,
    /// Accept an archive state that has expired (`Valid-Until`)
    #[arg(long)]
    pub allow_expired: bool,
    /// Accept an archive state that is older than the locked one
    #[arg(long)]
    pub allow_rollback: bool,
}

impl UpdateArgs {
    /// States that are accepted all the same.
    pub fn tolerated(&self) -> Vec<Staleness> {
        let wanted = |is_wanted: bool, staleness| is_wanted.then_some(staleness);
        let expired = wanted(self.allow_expired, Staleness::Expired);
        expired.into_iter().chain(wanted(self.allow_rollback, Staleness::RolledBack)).collect()
    }
}

/// The port that apt's proxies are usually at.
const PROXY_PORT: u16 = 3142;

pub(super) const PROXY_HELP: &str = "\
Configuration of a client, in a file below `/etc/apt/apt.conf.d`:

    Acquire::http::Proxy \"http://127.0.0.1:3142\";

The proxy serves Debian's own archives and the configured mirrors, nothing else. `/` shows statistics, `/metrics` the same for
Prometheus. Every request is logged as a line of JSON on standard output.";

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT)))]
    pub listen: SocketAddr,
    /// Network whose clients are served besides this machine, such as `192.0.2.0/24`
    #[arg(long, value_name = "NETWORK")]
    pub allow: Vec<ibuild::stages::packages::Network>,
    /// Mirror of Debian's archive; several are tried in this order [default: that of `ibuild.local.toml`, else that of this
    /// machine's apt]
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,
    /// Mirror of Debian's security archive
    #[arg(long, value_name = "URL")]
    pub security_mirror: Vec<String>,
    /// Keyring of the archive keys that are trusted
    #[arg(long, value_name = "FILE", default_value = ibuild::stages::packages::DEBIAN_KEYRING)]
    pub keyring: PathBuf,
    /// How long the state of a suite is served before the mirror is asked again
    #[arg(long, value_name = "SECONDS", default_value_t = ibuild::stages::packages::LiveArchive::MAX_AGE.as_secs())]
    pub max_age: u64,
}

#[derive(Debug, Subcommand)]
pub enum PackagesCommand {
    /// List the packages that the project's stages use
    Ls(JsonArgs),
    /// Show which stages use a package, and which packages there depend on it
    Why {
        /// Package name
        name: String,
    },
    /// Import all packages below a directory: the cache of another proxy, /var/cache/apt/archives, a disc
    Import {
        /// Directory
        dir: PathBuf,
    },
    /// List the source packages of all installed packages: name, version, licences, address, packages
    Sources(SourcesArgs),
    /// Count the packages in the store and those that the project needs
    Stats(JsonArgs),
    /// Verify all packages; damaged ones are removed, and fetched again when needed
    Verify(JsonArgs),
}
