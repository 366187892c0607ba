//! The living archive: what its mirrors have now, for every client that may ask. The chain of signatures is the same as for
//! a frozen one, but its beginning moves on with the mirror.

mod clients;
mod latest_releases;
pub(crate) mod page;
mod statistics;

pub use clients::{Clients, Network, NetworkError};
pub use statistics::Statistics;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ibuild_cache::{Sha256, Store};
use ibuild_debian::{Base, Known, Suite, index::PoolTable};
use tokio::task::spawn_blocking;

use self::latest_releases::LatestReleases;
use crate::archive::pinned::PinnedPocket;
use crate::archive::tables::{IndexSource, Tables};
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::mirror::Mirrors;
use crate::fetch::shared::Shared;
use crate::proxy::address::Addresses;
use crate::proxy::found::Found;
use crate::proxy::passthrough;
use crate::proxy::problem::Problem;
use crate::proxy::target::Target;
use crate::{PackageError, Verifier};

/// What a stand-alone proxy serves, and to whom.
pub struct LiveArchive {
    addresses: Addresses,
    clients: Clients,
    roots: LatestReleases,
    tables: Arc<Tables>,
    /// The files of suites that clients have asked for: their indices, whether or not the store could keep them.
    seen: Mutex<HashSet<Sha256>>,
    statistics: Arc<Statistics>,
}

impl LiveArchive {
    /// By default a suite's root is not asked for again for so long: a dozen clients that update at once ask the mirror once.
    pub const MAX_AGE: Duration = Duration::from_secs(10);

    /// The archives of these mirrors. Remembers what was served from this store before, should a mirror be out of reach.
    /// A suite's root that is younger than `max_age` is not asked for again.
    pub fn open(
        store: &Store,
        mirrors: &Mirrors,
        verifier: Arc<dyn Verifier>,
        clients: Clients,
        max_age: Duration,
        statistics: Arc<Statistics>,
    ) -> Result<Self, PackageError> {
        Ok(Self {
            addresses: Addresses::canonical().with(mirrors),
            clients,
            roots: LatestReleases::open(store, verifier, max_age)?,
            tables: Arc::new(Tables::new(store)),
            seen: Mutex::default(),
            statistics,
        })
    }

    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What a target is.
    pub(crate) async fn find(&self, shared: &Arc<Shared>, target: &Target) -> Result<Found, Problem> {
        match target.path.strip_prefix("dists/") {
            Some(rest) => self.find_in_suite(shared, &target.base, rest).await,
            None => self.find_in_pool(shared, &target.base, &target.path).await,
        }
    }

    async fn find_in_suite(&self, shared: &Arc<Shared>, base: &Base, rest: &str) -> Result<Found, Problem> {
        let named = rest.split_once('/').and_then(|(suite, file)| Some((suite.parse::<Suite>().ok()?, file)));
        let Some((suite, file)) = named else { return Ok(Found::Unlisted) };
        if file == "InRelease" {
            let root = self.roots.latest(shared, base, &suite).await?;
            self.tables.retain(|index| self.roots.lists(index));
            self.seen().retain(|index| self.roots.lists(index));
            return Ok(Found::Root(root));
        }
        let states = self.roots.states(base, &suite);
        let current = states.first().and_then(|pinned| listed(pinned, file));
        // A client that has the state before still asks for its indices, by their digests.
        let found = current.or_else(|| states.iter().find_map(|pinned| by_hash(pinned, file)));
        self.seen().extend(found.as_ref().map(|file| file.known.sha256));
        Ok(found.map_or(Found::Unlisted, Found::File))
    }

    fn seen(&self) -> MutexGuard<'_, HashSet<Sha256>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First where clients have been before: an index that somebody has fetched is here.
    async fn find_in_pool(&self, shared: &Arc<Shared>, base: &Base, path: &str) -> Result<Found, Problem> {
        let suites = self.roots.current(base);
        if let Some(known) = self.find_in_tables(&suites, path) {
            return Ok(Found::File(ArchiveFile { base: base.clone(), paths: vec![path.to_owned()], known }));
        }
        let indices: Vec<_> = suites.iter().flat_map(|pinned| indices_about(pinned, path)).collect();
        let mut elsewhere = Vec::new();
        for index in indices {
            if self.tables.get(&index.known.sha256).is_none() && !self.is_kept(shared, &index).await {
                elsewhere.push(index);
            } else if let Some(file) = self.look(shared, &index, path).await? {
                return Ok(Found::File(file));
            }
        }
        // A package for all machines is in the indices of each: they are too many to fetch those that nobody has seen.
        let is_worth_it = |index: &ArchiveFile| {
            architecture_of(path) != Some("all") || self.seen().contains(&index.known.sha256)
        };
        for index in elsewhere.into_iter().filter(is_worth_it) {
            if let Some(file) = self.look(shared, &index, path).await? {
                return Ok(Found::File(file));
            }
        }
        Ok(Found::Unlisted)
    }

    /// Looks only where everything is in memory already, which is enough for nearly all requests.
    fn find_in_tables(&self, suites: &[Arc<PinnedPocket>], path: &str) -> Option<Known> {
        let indices = suites.iter().flat_map(|pinned| pinned.release.all_packages());
        let mut tables = indices.filter_map(|index| self.tables.get(&index.known.sha256));
        tables.find_map(|table| table.get(path))
    }

    async fn is_kept(&self, shared: &Shared, index: &ArchiveFile) -> bool {
        shared.open(index).await.is_ok_and(|file| file.is_some())
    }

    /// Looks a path up in an index.
    async fn look(
        &self,
        shared: &Arc<Shared>,
        index: &ArchiveFile,
        path: &str,
    ) -> Result<Option<ArchiveFile>, Problem> {
        let known = self.table(shared, index).await?.and_then(|table| table.get(path));
        Ok(known.map(|known| ArchiveFile { base: index.base.clone(), paths: vec![path.to_owned()], known }))
    }

    /// An index as a table. A mirror need not have those of all machines.
    async fn table(
        &self,
        shared: &Arc<Shared>,
        index: &ArchiveFile,
    ) -> Result<Option<Arc<PoolTable>>, Problem> {
        if let Some(table) = self.tables.get(&index.known.sha256) {
            return Ok(Some(table));
        }
        let source = match shared.obtain(index).await {
            Ok(()) => IndexSource::Store,
            Err(FetchError { reason: FetchReason::NotFound(_), .. }) => return Ok(None),
            // What a full disk has no room for still tells what its files have to be.
            Err(FetchError { reason: FetchReason::Store(_), .. }) => {
                IndexSource::Memory(passthrough::in_memory(shared, index).await?)
            }
            Err(e) => return Err(e.into()),
        };
        let (tables, index) = (self.tables.clone(), index.clone());
        let loaded = spawn_blocking(move || tables.load(&index, source)).await;
        Ok(Some(loaded.expect("an index is read without a panic")?))
    }
}

fn listed(pinned: &PinnedPocket, file: &str) -> Option<ArchiveFile> {
    pinned.release.file(file).map(|file| pinned.index(&file))
}

fn by_hash(pinned: &PinnedPocket, file: &str) -> Option<ArchiveFile> {
    pinned.release.by_hash(file).map(|file| pinned.index(&file))
}

/// `amd64` for `pool/main/h/hello/hello_2.10-3_amd64.deb`.
fn architecture_of(path: &str) -> Option<&str> {
    Some(path.strip_suffix(".deb")?.rsplit_once('_')?.1)
}

/// The indices of a suite that could list a file of the pool.
fn indices_about(pinned: &PinnedPocket, path: &str) -> Vec<ArchiveFile> {
    let Some(named) = architecture_of(path) else { return sources_about(pinned, path) };
    let release = &pinned.release;
    let architectures = match named {
        "all" => release.architectures().into_iter().collect(),
        named => vec![named],
    };
    let mut files = Vec::new();
    for architecture in architectures {
        let components = release.components(architecture).into_iter();
        let in_path = components.filter(|c| path.split('/').any(|part| part == *c));
        files.extend(in_path.flat_map(|component| release.packages(component, architecture)));
    }
    files.iter().map(|file| pinned.index(file)).collect()
}

/// What is no package is a part of a source package, but for the installer's packages, which no index that is read lists.
fn sources_about(pinned: &PinnedPocket, path: &str) -> Vec<ArchiveFile> {
    let components = path.split('/').filter(|_| !path.ends_with(".udeb"));
    components
        .filter_map(|component| pinned.release.sources(component))
        .map(|file| pinned.index(&file))
        .collect()
}
