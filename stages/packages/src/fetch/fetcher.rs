//! Fetches files of the archive into the store. A file gets its name only by its digest; whoever asks for one
//! that is on its way joins the download.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use ibuild_cache::{BlobStore, CacheError, Sha256, Store};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::PackageError;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::connection::Connections;
use crate::fetch::content::Content;
use crate::fetch::download::{Download, find_elsewhere};
use crate::fetch::elsewhere::{Courtesy, Elsewhere, Moments};
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::handed_out::HandedOut;
use crate::fetch::kept::Kept;
use crate::fetch::mirror::Mirrors;
use crate::fetch::observer::FetchObserver;
use crate::fetch::patience::Patience;
use crate::fetch::tls::{Authorities, AuthorityError, Tls};
use ibuild_debian::{Base, Timestamp, Url};

/// Whether anything may be fetched at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// From these mirrors, and where else they say.
    Mirrors(Mirrors),
    /// No socket is opened: everything has to be in the store, or in others on this machine.
    Offline(Elsewhere),
}

/// Fetches for a whole build, on two threads of its own.
pub struct Fetcher {
    shared: Arc<Shared>,
    runtime: Runtime,
}

/// Whose a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The caller's: there was none.
    Begun,
    /// Somebody else's, who came first.
    Another,
}

/// What all downloads share.
pub(crate) struct Shared {
    pub(crate) store: BlobStore<Sha256>,
    kept: Kept,
    pub(crate) upstream: Upstream,
    pub(crate) patience: Patience,
    pub(crate) connections: Connections,
    pub(crate) observer: Arc<dyn FetchObserver>,
    running: Mutex<HashMap<Sha256, Arc<Download>>>,
    pub(crate) handed_out: Mutex<HandedOut>,
    pub(crate) moments: Moments,
    pub(crate) courtesy: Courtesy,
}

impl Upstream {
    /// Where files are that no mirror has.
    pub(crate) fn elsewhere(&self) -> &Elsewhere {
        match self {
            Self::Mirrors(mirrors) => &mirrors.elsewhere,
            Self::Offline(elsewhere) => elsewhere,
        }
    }
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
        let (running, handed_out, moments) = Default::default();
        let courtesy = Courtesy::new();
        let store = store.packages();
        let kept = Kept::new(store.clone());
        let shared = Shared {
            store,
            kept,
            upstream,
            patience,
            connections,
            observer,
            running,
            handed_out,
            moments,
            courtesy,
        };
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
        self.shared.moments.note(base, moment);
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

impl Shared {
    /// The file, if the store has it and it still is what its name says.
    pub(crate) async fn open(&self, file: &ArchiveFile) -> Result<Option<File>, CacheError> {
        self.kept.open(&file.known).await
    }

    /// What is sent of the file, if it is at hand. That it is does not mean that the store still has it.
    pub(crate) async fn content(&self, file: &ArchiveFile) -> Result<Option<Content>, CacheError> {
        self.kept.content(&file.known).await
    }

    /// Sees to it that the store has the file.
    pub(crate) async fn obtain(self: &Arc<Self>, file: &ArchiveFile) -> Result<(), FetchError> {
        let failed = |reason| FetchError { what: file.path().to_owned(), reason };
        if self.open(file).await.map_err(|e| failed(e.into()))?.is_some() {
            debug!(file = file.path(), "is in the store");
            return Ok(());
        }
        self.join(file).0.await_outcome().await
    }

    /// The running download of a file, and whether this call has begun it.
    pub(crate) fn join(self: &Arc<Self>, file: &ArchiveFile) -> (Arc<Download>, Joined) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(file.known.sha256) {
            Entry::Occupied(running) => (running.get().clone(), Joined::Another),
            Entry::Vacant(none) => {
                (none.insert(Download::start(self.clone(), file.clone())).clone(), Joined::Begun)
            }
        }
    }

    pub(crate) fn leave(&self, digest: &Sha256) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// Remembers that bytes went out which turned out to be wrong: a part that a client has kept of this file must not be
    /// continued.
    pub(crate) fn taint(&self, digest: Sha256) {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner).taint(digest);
    }

    /// Waits longer after each failure.
    pub(crate) async fn pause(&self, attempt: u32) {
        tokio::time::sleep(self.patience.pause * 2u32.saturating_pow(attempt.saturating_sub(1))).await;
    }

    /// The bytes of a file that nothing is known of.
    pub(crate) async fn whole(&self, base: &Base, path: &str) -> Result<Bytes, FetchError> {
        let Upstream::Mirrors(mirrors) = &self.upstream else {
            return Err(FetchError { what: path.to_owned(), reason: FetchReason::Offline });
        };
        let urls: Vec<_> = mirrors.urls(base).iter().map(|mirror| mirror.join(path)).collect();
        let mut attempt = 1;
        loop {
            let error = match self.whole_of_any(&urls).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            if !error.reason.is_transient() || attempt >= self.patience.attempts.get() {
                return Err(error);
            }
            self.pause(attempt).await;
            attempt += 1;
        }
    }

    /// Asks each mirror once; what the first has to say is told.
    async fn whole_of_any(&self, urls: &[Url]) -> Result<Bytes, FetchError> {
        let mut told = None;
        for url in urls {
            match self.whole_once(url).await {
                Ok(bytes) => return Ok(bytes),
                Err(reason) => told = told.or(Some(FetchError { what: url.to_string(), reason })),
            }
        }
        Err(told.expect("there is a mirror"))
    }

    async fn whole_once(&self, url: &Url) -> Result<Bytes, FetchReason> {
        /// The largest InRelease so far has 300 kB.
        const LIMIT: usize = 16 << 20;
        info!(%url, "fetches");
        let response = self.connections.get(url, 0).await?;
        match response.status() {
            StatusCode::OK => {}
            status => return Err(refusal(status)),
        }
        let body = self.connections.within(async { Ok(Limited::new(response, LIMIT).collect().await) });
        match body.await? {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(FetchReason::TooLarge(LIMIT)),
            Err(e) => Err(FetchReason::unreachable(&io::Error::other(e))),
        }
    }
}

/// What a status other than success means for the caller.
pub(crate) fn refusal(status: StatusCode) -> FetchReason {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => FetchReason::NotFound(status),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            FetchReason::Status(status)
        }
        status if status.is_client_error() => FetchReason::Refused(status),
        status => FetchReason::Status(status),
    }
}
