//! Requests and how they were answered, for whoever keeps count of them.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};

use crate::fetch::archive_file::ArchiveFile;
use crate::proxy::body::ProxyBody;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// From the store.
    Hit,
    /// After, or during, a download that this request began.
    Miss,
    /// After, or during, a download that another request had begun.
    Joined,
    /// With the last good state of a suite, because the mirror has none now.
    Stale,
    /// By the mirror, and nothing was kept.
    Passed,
    /// Not at all, with this status.
    Refused(StatusCode),
}

impl CacheStatus {
    /// Every kind of verdict in a word, in the order of declaration.
    pub const WORDS: [&str; 6] = ["hit", "miss", "joined", "stale", "passed", "refused"];

    /// The place of its kind in [`CacheStatus::WORDS`].
    pub fn kind(self) -> usize {
        match self {
            Self::Hit => 0,
            Self::Miss => 1,
            Self::Joined => 2,
            Self::Stale => 3,
            Self::Passed => 4,
            Self::Refused(_) => 5,
        }
    }

    /// The verdict in a word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self.kind()]
    }
}

/// One request, and how it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// Who asks.
    pub client: IpAddr,
    /// `GET`
    pub method: String,
    /// The address that was asked for.
    pub address: String,
    /// The status that was answered.
    pub status: StatusCode,
    /// What the answer is, where that is known.
    pub file: Option<ArchiveFile>,
    /// How it was answered.
    pub verdict: CacheStatus,
    /// What was wrong: why it was refused, or why it was passed on or is stale.
    pub problem: Option<String>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The bytes of the body that the client was sent.
    pub bytes: u64,
    /// From the request to the last of them.
    pub elapsed: Duration,
    /// Whether that was all of them.
    pub end: End,
}

/// Whether a client got all of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It did.
    Complete,
    /// It went away, or what it was sent turned out to be wrong.
    Broken,
}

/// Is told what a proxy does, from several threads.
pub trait AccessObserver: Send + Sync {
    /// A client connects.
    fn connected(&self) {}
    /// A client is gone.
    fn disconnected(&self) {}
    /// An answer begins.
    fn answered(&self, _: &AccessRecord) {}
    /// An answer ends.
    fn finished(&self, _: &AccessRecord, _: &Sent) {}
}

/// One request of a stage, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFetch {
    /// The address that was asked for.
    pub address: String,
    /// What it is, where the view knows it.
    pub file: Option<ArchiveFile>,
    /// How it was answered.
    pub verdict: CacheStatus,
    /// Why it was refused, if it was.
    pub problem: Option<String>,
}

/// What a stage has asked for, in order.
#[derive(Default)]
pub struct StageFetches(Mutex<Vec<StageFetch>>);

impl StageFetches {
    /// All so far; they are forgotten here.
    pub fn take(&self) -> Vec<StageFetch> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AccessObserver for StageFetches {
    fn answered(&self, exchange: &AccessRecord) {
        let AccessRecord { address, file, verdict, problem, .. } = exchange.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(StageFetch {
            address,
            file,
            verdict,
            problem,
        });
    }
}

/// A body that tells how far it was sent when it is dropped.
pub(crate) struct WatchedBody {
    body: ProxyBody,
    sent: u64,
    of: Option<Watched>,
}

struct Watched {
    exchange: AccessRecord,
    since: Instant,
    observer: Arc<dyn AccessObserver>,
}

impl WatchedBody {
    /// A body that is nobody's business.
    pub(crate) fn unwatched(body: ProxyBody) -> Self {
        Self { body, sent: 0, of: None }
    }

    /// The body of the answer to a request that came at `since`.
    pub(crate) fn of(
        exchange: AccessRecord,
        body: ProxyBody,
        since: Instant,
        observer: &Arc<dyn AccessObserver>,
    ) -> Self {
        observer.answered(&exchange);
        Self { body, sent: 0, of: Some(Watched { exchange, since, observer: observer.clone() }) }
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        let Some(Watched { exchange, since, observer }) = &self.of else { return };
        let end = if self.body.is_end_stream() { End::Complete } else { End::Broken };
        observer.finished(exchange, &Sent { bytes: self.sent, elapsed: since.elapsed(), end });
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
