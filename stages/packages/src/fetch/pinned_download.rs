//! Fetches a file of which nothing is known but its digest, not even its size.
//!
//! Each address is asked in turn. One whose connection breaks is asked for the rest, with the validator that it gave, and never
//! another one: parts of two addresses are not put together. What came from one address is judged by the digest all the same.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};
use hyper::{Response, StatusCode};
use ibuild_cache::{BlobWriter, CacheError, Sha256};
use ibuild_debian::Url;
use tracing::info;

use crate::fetch::download::content_range;
use crate::fetch::fetch_error::FetchReason;
use crate::fetch::observer::FetchEnd;
use crate::fetch::pinned_error::{PinnedError, PinnedReason};
use crate::fetch::pinned_file::PinnedFile;
use crate::fetch::shared::{Shared, refusal};
use crate::fetch::upstream::Upstream;

/// Larger than any file that belongs into an image. A server need not stop by itself.
const LARGEST: u64 = 16 << 30;

/// Bytes a second; whoever sends less over a while could go on for ever. A modem has three times as much.
const SLOWEST: u64 = 1 << 10;

/// Sees to it that the store has the file, whole.
pub(crate) async fn obtain(shared: &Arc<Shared>, file: &PinnedFile) -> Result<(), PinnedError> {
    let _turn = shared.turns.wait(file.sha256).await;
    if is_stored(shared, file.sha256).await? {
        return Ok(());
    }
    let download = PinnedDownload { shared, file };
    if download.copy_from_stores().await? {
        return Ok(());
    }
    if let Upstream::Offline(_) = shared.upstream {
        let url = file.urls.first().expect("a file has an address").to_string();
        return Err(PinnedError::Offline { url, sha256: file.sha256 });
    }
    download.ask_addresses().await
}

/// Whether the store has it. What it has under its name, and is something else by now, is removed.
async fn is_stored(shared: &Arc<Shared>, sha256: Sha256) -> Result<bool, PinnedError> {
    let store = shared.store.clone();
    let look = move || match store.verify(&sha256)? {
        Some(false) => store.remove(&sha256).map(|()| false),
        found => Ok(found.is_some()),
    };
    tokio::task::spawn_blocking(look).await.expect("reading does not panic").map_err(full)
}

fn full(error: CacheError) -> PinnedError {
    PinnedError::Store(Arc::new(error))
}

/// Why an address did not give the file.
enum Failure {
    /// The address is at fault.
    Address(PinnedReason),
    /// The store is, which all other addresses would meet, too.
    Store(CacheError),
}

impl<R: Into<PinnedReason>> From<R> for Failure {
    fn from(reason: R) -> Self {
        Self::Address(reason.into())
    }
}

/// What an address gave before it stopped.
struct Partial {
    writer: BlobWriter<Sha256>,
    /// Names the version of the file, if the address does.
    validator: Option<HeaderValue>,
    /// Whether it came in several parts.
    is_continued: bool,
}

struct PinnedDownload<'a> {
    shared: &'a Arc<Shared>,
    file: &'a PinnedFile,
}

impl PinnedDownload<'_> {
    /// Whether another store on this machine has it.
    async fn copy_from_stores(&self) -> Result<bool, PinnedError> {
        for path in self.shared.upstream.elsewhere().files(&self.file.sha256) {
            let Ok(mut source) = std::fs::File::open(&path) else { continue };
            info!(from = %path.display(), "copies from another store");
            let (mut writer, expected) = (self.shared.store.writer().map_err(full)?, self.file.sha256);
            let copy = move || {
                std::io::copy(&mut source, &mut writer).is_ok() && writer.finish_expecting(&expected).is_ok()
            };
            if tokio::task::spawn_blocking(copy).await.expect("copying does not panic") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks each address, and then those again whose trouble may have passed. Stores of other machines come last.
    async fn ask_addresses(&self) -> Result<(), PinnedError> {
        let mut failures: Vec<(Url, PinnedReason)> = Vec::new();
        for round in 1..=self.shared.patience.attempts.get() {
            for url in &self.file.urls {
                if failures.iter().any(|(failed, reason)| failed == url && !reason.is_transient()) {
                    continue;
                }
                match self.ask(url).await {
                    Ok(()) => return Ok(()),
                    Err(Failure::Store(error)) => return Err(full(error)),
                    Err(Failure::Address(reason)) => {
                        failures.retain(|(failed, _)| failed != url);
                        failures.push((url.clone(), reason));
                    }
                }
            }
            if !failures.iter().any(|(_, reason)| reason.is_transient()) {
                break;
            }
            if round < self.shared.patience.attempts.get() {
                self.shared.pause(round).await;
            }
        }
        for url in self.shared.upstream.elsewhere().in_stores(&self.file.sha256) {
            if self.ask(&url).await.is_ok() {
                return Ok(());
            }
        }
        Err(PinnedError::of(self.file.sha256, failures))
    }

    /// Asks one address, and goes on there as long as something comes.
    async fn ask(&self, url: &Url) -> Result<(), Failure> {
        let name = url.to_string();
        self.shared.observer.started(&name);
        let outcome = self.ask_until_nothing_comes(url).await;
        let end = if outcome.is_ok() { FetchEnd::Stored } else { FetchEnd::Failed };
        self.shared.observer.finished(&name, end);
        outcome
    }

    async fn ask_until_nothing_comes(&self, url: &Url) -> Result<(), Failure> {
        let mut partial: Option<Partial> = None;
        for attempt in 1.. {
            let reason = match self.receive(url, &mut partial).await {
                Ok(()) => {
                    let whole = partial.take().expect("something was received");
                    let is_continued = whole.is_continued;
                    match self.finish(whole.writer).await {
                        // The parts may be of two versions of the file: once more, in one piece.
                        Err(Failure::Address(_)) if is_continued => continue,
                        finished => return finished,
                    }
                }
                Err(Failure::Address(reason)) => reason,
                Err(error) => return Err(error),
            };
            let is_begun = partial.as_ref().is_some_and(|partial| partial.writer.size() > 0);
            let is_hopeful = reason.is_transient() && is_begun;
            if !is_hopeful || attempt >= self.shared.patience.attempts.get() {
                return Err(reason.into());
            }
            self.shared.pause(attempt).await;
        }
        unreachable!("the last attempt returns")
    }

    /// Receives the file, or the rest of it.
    async fn receive(&self, url: &Url, partial: &mut Option<Partial>) -> Result<(), Failure> {
        let have = partial.as_ref().map_or(0, |partial| partial.writer.size());
        info!(%url, from = have, "fetches");
        let validator = partial.as_ref().and_then(|partial| partial.validator.as_ref());
        let response = self.shared.connections.get_rest(url, have, validator).await;
        let response = response.map_err(FetchReason::from)?;
        let length = match judge_head(&response, have) {
            Head::Rest(length) => length,
            Head::Whole(length) => {
                let writer = self.shared.store.writer().map_err(Failure::Store)?;
                let validator = validator_in(response.headers());
                *partial = Some(Partial { writer, validator, is_continued: false });
                length
            }
            Head::Refused(reason) => {
                // What there is may be of another version of the file.
                *partial = None;
                return Err(reason.into());
            }
        };
        let partial = partial.as_mut().expect("there is a part, or it has just begun");
        partial.is_continued |= partial.writer.size() > 0;
        self.receive_body(url, response.into_body(), &mut partial.writer, length).await
    }

    async fn receive_body(
        &self,
        url: &Url,
        mut body: Incoming,
        writer: &mut BlobWriter<Sha256>,
        length: Option<u64>,
    ) -> Result<(), Failure> {
        let (name, begin) = (url.to_string(), writer.size());
        let mut pace = Pace::new(self.shared.patience.stall * 4);
        loop {
            let frame = self.shared.connections.within(async { Ok(body.frame().await.transpose()?) }).await;
            let Some(frame) = frame.map_err(FetchReason::from)? else { break };
            // Trailers carry nothing that would be believed.
            let data = frame.into_data().unwrap_or_default();
            if writer.size() + data.len() as u64 > LARGEST {
                return Err(PinnedReason::TooLarge(LARGEST).into());
            }
            let path = self.shared.store.path(&self.file.sha256);
            writer
                .write_all(&data)
                .map_err(|source| Failure::Store(CacheError::Io { act: "write", path, source }))?;
            self.shared.observer.received(&name, data.len() as u64);
            pace.keeps_up(data.len() as u64)?;
        }
        match length {
            Some(length) if writer.size() - begin != length => {
                Err(FetchReason::Unreachable(format!("it broke off after {} bytes", writer.size())).into())
            }
            _ => Ok(()),
        }
    }

    /// Publishing waits for the disk, so it has a thread of its own.
    async fn finish(&self, writer: BlobWriter<Sha256>) -> Result<(), Failure> {
        let expected = self.file.sha256;
        let published = tokio::task::spawn_blocking(move || writer.finish_expecting(&expected)).await;
        match published.expect("publishing does not panic") {
            Ok(_) => Ok(()),
            Err(CacheError::WrongDigest { actual, .. }) => {
                let found = actual.parse().expect("the store writes digests that can be read");
                Err(PinnedReason::WrongDigest { expected, found }.into())
            }
            Err(error) => Err(Failure::Store(error)),
        }
    }
}

/// How fast bytes come.
struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Measured over windows of this length.
    fn new(window: Duration) -> Self {
        Self { window, since: Instant::now(), bytes: 0 }
    }

    /// So many more have come.
    fn keeps_up(&mut self, bytes: u64) -> Result<(), FetchReason> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        if self.bytes < SLOWEST * elapsed.as_secs() {
            return Err(FetchReason::Unreachable(format!("it sends less than {SLOWEST} bytes a second")));
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

/// What a response is going to bring, and how much.
enum Head {
    Whole(Option<u64>),
    Rest(Option<u64>),
    Refused(FetchReason),
}

fn judge_head(response: &Response<Incoming>, have: u64) -> Head {
    let headers = response.headers();
    match response.status() {
        StatusCode::OK => Head::Whole(length(headers)),
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some((start, total)) if have > 0 && start == have => Head::Rest(total.checked_sub(have)),
            _ => {
                Head::Refused(FetchReason::Unreachable("it sends another part than was asked for".to_owned()))
            }
        },
        // The file has become shorter: it is asked for whole.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
            Head::Refused(FetchReason::Unreachable("it has become shorter".to_owned()))
        }
        status => Head::Refused(refusal(status)),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A strong entity tag, or a date. A weak tag says that versions are as good as each other, which bytes are not.
fn validator_in(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}
