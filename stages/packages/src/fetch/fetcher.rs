//! Fetches files of the archive into the store. A file gets its name only by its digest; whoever asks for one
//! that is on its way joins the download.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ibuild_cache::{Cancel, Store};
use ibuild_debian::{Base, Timestamp, Url};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::PackageError;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::certificate::AuthorityError;
use crate::fetch::connection::Connections;
use crate::fetch::download::find_elsewhere;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::observer::FetchObserver;
use crate::fetch::patience::Patience;
use crate::fetch::pinned_download::obtain;
use crate::fetch::pinned_error::PinnedError;
use crate::fetch::pinned_file::PinnedFile;
use crate::fetch::shared::Shared;
use crate::fetch::tls::{Authorities, Tls};
use crate::fetch::upstream::Upstream;

/// Fetches for a whole build, on two threads of its own.
pub struct Fetcher {
    shared: Arc<Shared>,
    runtime: Runtime,
}

impl Fetcher {
    /// A fetcher into `store`.
    pub fn new(
        store: &Store,
        upstream: Upstream,
        patience: Patience,
        observer: Arc<dyn FetchObserver>,
    ) -> Result<Self, PackageError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("packages")
            .enable_all()
            .build()
            .map_err(PackageError::Threads)?;
        let connections = Connections::new(patience.stall, tls(&upstream)?);
        let shared = Shared::new(store.packages(), upstream, patience, connections, observer);
        Ok(Self { shared: Arc::new(shared), runtime })
    }

    /// Waits until a file is in the store. Not to be called from the fetcher's own threads.
    pub fn fetch(&self, file: &ArchiveFile) -> Result<(), FetchError> {
        self.runtime.block_on(self.shared.obtain(file))
    }

    /// Waits until all of them are, at most `parallel` at a time; the first failure ends it.
    pub fn fetch_all(&self, files: &[ArchiveFile], parallel: usize) -> Result<(), FetchError> {
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for file in files {
                if running.len() >= parallel.max(1) {
                    join_next(&mut running).await?;
                }
                let (shared, file) = (self.shared.clone(), file.clone());
                running.spawn(async move { shared.obtain(&file).await });
            }
            while !running.is_empty() {
                join_next(&mut running).await?;
            }
            Ok(())
        })
    }

    /// Remembers that a part of the archive is wanted as it was at a moment: what is gone by now is looked for then.
    pub fn look_back(&self, base: &Base, moment: Timestamp) {
        self.shared.snapshot_dates.note(base, moment);
    }

    /// The bytes of a suite's signed root as the mirror has it now. Nothing is known of them yet, so they are not
    /// stored, and never asked for conditionally or in parts.
    pub fn fetch_root(&self, base: &Base, path: &str) -> Result<Vec<u8>, FetchError> {
        self.runtime.block_on(self.shared.whole(base, path)).map(|bytes| bytes.to_vec())
    }

    /// Looks for a file everywhere but with the mirrors, and takes it into the store. Whether it was found.
    pub fn finds_elsewhere(&self, file: &ArchiveFile) -> bool {
        self.runtime.block_on(find_elsewhere(&self.shared, file))
    }

    /// Waits until a file that a recipe names is in the store: one that is there is read again. Gives up when `cancel` says so.
    pub fn fetch_pinned(&self, file: &PinnedFile, cancel: &Cancel) -> Result<(), PinnedError> {
        /// How often to look whether to give up.
        const LOOK: Duration = Duration::from_millis(100);
        self.runtime.block_on(async {
            let mut obtained = pin!(obtain(&self.shared, file));
            loop {
                match timeout(LOOK, &mut obtained).await {
                    Ok(outcome) => return outcome,
                    Err(_) if cancel.is_cancelled() => return Err(PinnedError::Interrupted),
                    Err(_) => {}
                }
            }
        })
    }

    /// The bytes at the first of these addresses that has any, of which nothing is known: 16 MiB at most.
    pub fn fetch_whole(&self, urls: &[Url]) -> Result<Vec<u8>, FetchError> {
        let what = || urls.first().map(Url::to_string).unwrap_or_default();
        match self.shared.upstream {
            Upstream::Mirrors(_) => Ok(self.runtime.block_on(self.shared.whole_from(urls))?.to_vec()),
            Upstream::Offline(_) => Err(FetchError { what: what(), reason: FetchReason::Offline }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
}

/// Where something is fetched by https for sure, it is known at once whether that is possible.
fn tls(upstream: &Upstream) -> Result<Tls, AuthorityError> {
    let Upstream::Mirrors(mirrors) = upstream else { return Ok(Tls::new(Authorities::of_host(&[]))) };
    let tls = Tls::new(mirrors.authorities.clone());
    if mirrors.need_tls() {
        tls.check()?;
    }
    Ok(tls)
}

async fn join_next(running: &mut JoinSet<Result<(), FetchError>>) -> Result<(), FetchError> {
    running.join_next().await.expect("there is one").expect("a download does not panic")
}
