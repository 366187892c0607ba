//! One download on its way into the store, and who joins it.
//!
//! The bytes go to an unnamed file and are hashed as they come. When a connection breaks, the next attempt asks
//! for the rest: what the mirror says about ranges is not believed any more than the rest of its words, the
//! digest of the whole decides. Bytes with another digest are thrown away, and followers are told by
//! a new generation that what they have seen was wrong.

use std::collections::hash_map::Entry;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use ibuild_cache::{BlobWriter, CacheError, Sha256};
use ibuild_debian::Url;
use tokio::sync::watch;
use tracing::{debug, info};

use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fallback_sources::open_if_there;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::observer::FetchEnd;
use crate::fetch::progress::{Download, Progress};
use crate::fetch::shared::{Shared, refusal};
use crate::fetch::upstream::Upstream;

/// Whether a call started the download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It did: there was none.
    Begun,
    /// Another caller had started it.
    Another,
}

/// Starts to download on the current runtime.
fn start(shared: Arc<Shared>, file: ArchiveFile) -> Arc<Download> {
    let (sender, progress) = watch::channel(Progress::default());
    tokio::spawn(async move {
        shared.observer.started(file.path());
        let mut attempt = Attempt { shared: &shared, file: &file, progress: &sender, partial: None };
        let outcome = attempt.run().await;
        if outcome.is_err() {
            // Followers may have been sent bytes that are verified by nobody any more.
            shared.taint(file.known.sha256);
        }
        let end = if outcome.is_ok() { FetchEnd::Stored } else { FetchEnd::Failed };
        shared.observer.finished(file.path(), end);
        shared.leave(&file.known.sha256);
        sender.send_modify(|progress| progress.outcome = Some(outcome));
    });
    Download::new(progress)
}

impl Shared {
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
            Entry::Vacant(none) => (none.insert(start(self.clone(), file.clone())).clone(), Joined::Begun),
        }
    }
}

/// Looks for a file everywhere but with the mirrors, and takes it into the store. Whether it was found.
pub(crate) async fn find_elsewhere(shared: &Shared, file: &ArchiveFile) -> bool {
    let (progress, _nobody_follows) = watch::channel(Progress::default());
    let mut attempt = Attempt { shared, file, progress: &progress, partial: None };
    attempt.copy_from_stores().await || attempt.ask_stores().await || attempt.ask_snapshots().await
}

/// The work on a download.
struct Attempt<'a> {
    shared: &'a Shared,
    file: &'a ArchiveFile,
    progress: &'a watch::Sender<Progress>,
    partial: Option<BlobWriter<Sha256>>,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(), FetchError> {
        // A download of the same file may have ended between the caller's look at the store and now.
        if self.shared.open(self.file).await.is_ok_and(|kept| kept.is_some()) {
            return Ok(());
        }
        if self.copy_from_stores().await {
            return Ok(());
        }
        let Upstream::Mirrors(mirrors) = &self.shared.upstream else {
            return Err(FetchError { what: self.file.path().to_owned(), reason: FetchReason::Offline });
        };
        let under = |mirror: &Url| self.file.paths.iter().map(|path| mirror.join(path)).collect();
        let mirrors: Vec<Vec<Url>> = mirrors.urls(&self.file.base).iter().map(under).collect();
        let mut attempt = 1;
        loop {
            let error = match self.try_all(&mirrors).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What is wrong with the disk is wrong wherever a file comes from.
            if let FetchReason::Store(_) = error.reason {
                return Err(error);
            }
            if self.ask_stores().await {
                return Ok(());
            }
            if !error.reason.is_transient() || attempt >= self.shared.patience.attempts.get() {
                return if self.ask_snapshots().await { Ok(()) } else { Err(error) };
            }
            self.shared.pause(attempt).await;
            attempt += 1;
        }
    }

    /// Whether another store on this machine has it.
    async fn copy_from_stores(&mut self) -> bool {
        for path in self.shared.upstream.elsewhere().files(&self.file.known.sha256) {
            if self.copy(path).await.is_ok_and(|copied| copied) {
                return true;
            }
        }
        false
    }

    async fn copy(&mut self, path: PathBuf) -> Result<bool, FetchReason> {
        let Some(mut source) = open_if_there(&path, self.file.known.size) else { return Ok(false) };
        info!(from = %path.display(), size = self.file.known.size, "copies from another store");
        let mut writer = self.begin()?;
        let copied =
            tokio::task::spawn_blocking(move || std::io::copy(&mut source, &mut writer).map(|_| writer));
        match copied.await.expect("copying does not panic") {
            Ok(writer) => self.finish(writer).await.map(|()| true),
            Err(e) => Err(self.take_back(FetchReason::Store(Arc::new(self.full(e))))),
        }
    }

    /// Whether a store of another machine has it.
    async fn ask_stores(&mut self) -> bool {
        for url in self.shared.upstream.elsewhere().in_stores(&self.file.known.sha256) {
            if self.transfer(&url).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Whether a snapshot service has it. One that is busy is asked again when it says so.
    async fn ask_snapshots(&mut self) -> bool {
        let snapshot_dates = self.shared.snapshot_dates.of(&self.file.base);
        for url in self.shared.upstream.elsewhere().in_snapshots(self.file, &snapshot_dates) {
            for _ in 0..self.shared.patience.attempts.get() {
                let turn = self.shared.rate_limiter.turn().await;
                match self.transfer(&url).await {
                    Ok(()) => return true,
                    Err(FetchReason::Busy { pause, .. }) if self.shared.rate_limiter.wait(pause) => {}
                    Err(_) => break,
                }
                drop(turn);
            }
        }
        false
    }

    /// Asks each mirror once, whatever was wrong with the one before. What the first has to say is told, unless only
    /// a later one gives reason to try again.
    async fn try_all(&mut self, mirrors: &[Vec<Url>]) -> Result<(), FetchError> {
        let mut told: Option<FetchError> = None;
        for urls in mirrors {
            let Err(error) = self.try_mirror(urls).await else { return Ok(()) };
            if let FetchReason::Store(_) = error.reason {
                return Err(error);
            }
            if told.as_ref().is_none_or(|told| error.reason.is_transient() && !told.reason.is_transient()) {
                told = Some(error);
            }
        }
        Err(told.expect("there is a mirror"))
    }

    /// Asks a mirror; where an address does not have the file, the next one is tried.
    async fn try_mirror(&mut self, urls: &[Url]) -> Result<(), FetchError> {
        let mut last = FetchError { what: String::new(), reason: FetchReason::Offline };
        for url in urls {
            match self.transfer(url).await {
                Ok(()) => return Ok(()),
                Err(reason) => last = FetchError { what: url.to_string(), reason },
            }
            if !matches!(last.reason, FetchReason::NotFound(_)) {
                break;
            }
        }
        Err(last)
    }

    async fn transfer(&mut self, url: &Url) -> Result<(), FetchReason> {
        info!(%url, size = self.file.known.size, "fetches");
        let mut writer = match self.partial.take() {
            Some(writer) => writer,
            None => self.begin()?,
        };
        let received = self.receive(url, &mut writer).await;
        match received {
            Ok(()) => self.finish(writer).await,
            Err(FetchReason::WrongBytes(why)) => Err(self.take_back(FetchReason::WrongBytes(why))),
            Err(reason) => {
                self.partial = Some(writer);
                Err(reason)
            }
        }
    }

    fn begin(&self) -> Result<BlobWriter<Sha256>, CacheError> {
        let writer = self.shared.store.writer()?;
        // Reserved first: a client that was sent a prefix cannot be served the rest once the store is full.
        writer.reserve(self.file.known.size)?;
        let bytes = Some(Arc::new(writer.reader()?));
        self.progress.send_modify(|progress| progress.bytes = bytes);
        Ok(writer)
    }

    async fn receive(&self, url: &Url, writer: &mut BlobWriter<Sha256>) -> Result<(), FetchReason> {
        let size = self.file.known.size;
        let response = self.shared.connections.get(url, writer.size()).await?;
        let mut skip = check_head(&response, writer.size(), size)?;
        let mut body = response.into_body();
        while let Some(data) = self.next_data(&mut body).await? {
            let skipped = skip.min(data.len() as u64);
            skip -= skipped;
            let data = &data[skipped as usize..];
            if writer.size() + data.len() as u64 > size {
                return Err(FetchReason::WrongBytes(format!("more than {size} bytes")));
            }
            writer.write_all(data).map_err(|e| FetchReason::Store(Arc::new(self.full(e))))?;
            self.shared.observer.received(self.file.path(), data.len() as u64);
            self.progress.send_modify(|progress| progress.written = writer.size());
        }
        match writer.size() {
            received if received == size => Ok(()),
            received => {
                Err(FetchReason::Unreachable(format!("it broke off after {received} of {size} bytes")))
            }
        }
    }

    async fn next_data(&self, body: &mut Incoming) -> Result<Option<bytes::Bytes>, FetchReason> {
        let frame = self.shared.connections.within(async { Ok(body.frame().await.transpose()?) }).await?;
        // Trailers carry nothing that would be believed.
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    fn full(&self, source: std::io::Error) -> CacheError {
        CacheError::Io { act: "write", path: self.shared.store.path(&self.file.known.sha256), source }
    }

    /// Publishing waits for the disk, so it has a thread of its own.
    async fn finish(&self, writer: BlobWriter<Sha256>) -> Result<(), FetchReason> {
        let expected = self.file.known.sha256;
        let published = tokio::task::spawn_blocking(move || writer.finish_expecting(&expected)).await;
        match published.expect("publishing does not panic") {
            Ok(_) => Ok(()),
            Err(e @ CacheError::WrongDigest { .. }) => {
                Err(self.take_back(FetchReason::WrongBytes(e.to_string())))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn take_back(&self, reason: FetchReason) -> FetchReason {
        self.shared.taint(self.file.known.sha256);
        self.progress.send_modify(|progress| {
            *progress = Progress { generation: progress.generation + 1, ..Progress::default() };
        });
        reason
    }
}

/// How many bytes of the body we already have. A mirror may answer a request for the rest with the whole, but
/// a part that was not asked for, or of something of another size, is refused.
pub(crate) fn check_head(response: &Response<Incoming>, have: u64, size: u64) -> Result<u64, FetchReason> {
    let headers = response.headers();
    match response.status() {
        StatusCode::OK => match length(headers) {
            Some(length) if length != size => {
                Err(FetchReason::WrongBytes(format!("{length} bytes instead of {size}")))
            }
            _ => Ok(have),
        },
        StatusCode::PARTIAL_CONTENT if have > 0 => match content_range(headers) {
            Some((start, total)) if start == have && total == size => Ok(0),
            _ => Err(FetchReason::WrongBytes("another part than was asked for".to_owned())),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => Err(FetchReason::WrongBytes("a shorter file".to_owned())),
        status => Err(match pause(headers) {
            Some(pause) if is_busy(status) => FetchReason::Busy { status, pause },
            _ => refusal(status),
        }),
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// What `Retry-After` says, if it is a number of seconds.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Start and total of `bytes 5-9/10`.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, total) =
        headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}
