//! What all downloads of a fetcher share: the store, the connections, and who is on the way.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use ibuild_cache::{BlobStore, CacheError, Sha256};
use ibuild_debian::{Base, Url};
use tracing::info;

use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::connection::Connections;
use crate::fetch::content::Content;
use crate::fetch::fallback_sources::{RateLimiter, SnapshotDates};
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::observer::FetchObserver;
use crate::fetch::patience::Patience;
use crate::fetch::progress::Download;
use crate::fetch::resume_guard::ResumeGuard;
use crate::fetch::turns::Turns;
use crate::fetch::upstream::Upstream;
use crate::fetch::verified_store::VerifiedStore;

/// What all downloads share.
pub(crate) struct Shared {
    pub(crate) store: BlobStore<Sha256>,
    verified: VerifiedStore,
    pub(crate) upstream: Upstream,
    pub(crate) patience: Patience,
    pub(crate) connections: Connections,
    pub(crate) observer: Arc<dyn FetchObserver>,
    pub(crate) running: Mutex<HashMap<Sha256, Arc<Download>>>,
    pub(crate) handed_out: Mutex<ResumeGuard>,
    pub(crate) snapshot_dates: SnapshotDates,
    pub(crate) rate_limiter: RateLimiter,
    /// Whose turn it is with a file that a recipe names.
    pub(crate) turns: Turns,
}

impl Shared {
    pub(crate) fn new(
        store: BlobStore<Sha256>,
        upstream: Upstream,
        patience: Patience,
        connections: Connections,
        observer: Arc<dyn FetchObserver>,
    ) -> Self {
        Self {
            verified: VerifiedStore::new(store.clone()),
            store,
            upstream,
            patience,
            connections,
            observer,
            running: Mutex::default(),
            handed_out: Mutex::default(),
            snapshot_dates: SnapshotDates::default(),
            rate_limiter: RateLimiter::new(),
            turns: Turns::default(),
        }
    }

    /// The file, if the store has it and it still is what its name says.
    pub(crate) async fn open(&self, file: &ArchiveFile) -> Result<Option<File>, CacheError> {
        self.verified.open(&file.known).await
    }

    /// What is sent of the file, if it is at hand. That it is does not mean that the store still has it.
    pub(crate) async fn content(&self, file: &ArchiveFile) -> Result<Option<Content>, CacheError> {
        self.verified.content(&file.known).await
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
        self.whole_from(&urls).await
    }

    /// The same, from one of these addresses. It is asked for until there is no hope left.
    pub(crate) async fn whole_from(&self, urls: &[Url]) -> Result<Bytes, FetchError> {
        let mut attempt = 1;
        loop {
            let error = match self.whole_of_any(urls).await {
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
