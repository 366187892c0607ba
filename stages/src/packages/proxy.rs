//! The proxy that shows a frozen view to the apt of a stage. It speaks HTTP as apt does and serves nothing but
//! what the view knows; every refusal has a body that says why, because apt retries on one and gives up without.

use std::convert::Infallible;
use std::fmt;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ibuild_cache::Sha256;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::PackageError;
use super::answer::{Answer, answer, last_modified};
use super::body::ProxyBody;
use super::fetch::{FetchError, FetchReason, Fetcher, Shared};
use super::target::{Refusal, Target};
use super::view::{ArchiveFile, ArchiveView, Lookup};

/// A file larger than this is sent while it comes; a smaller one once it is verified. apt waits 30 seconds for
/// the first byte, and the slowest line that is of any use brings this much in that time.
const STREAM_FROM: u64 = 1 << 20;

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Serves views to stages, on the threads of a fetcher.
pub struct Proxy {
    shared: Arc<Shared>,
    handle: Handle,
}

/// One request of a stage, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFetch {
    /// The address that was asked for.
    pub address: String,
    /// What it is, where the view knows it.
    pub sha256: Option<Sha256>,
    /// How it was answered.
    pub verdict: Verdict,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// From the store.
    Hit,
    /// After, or during, a download.
    Miss,
    /// Not at all, with this status.
    Refused(StatusCode),
}

/// A stage being served. Dropped, it stops: the listener and all of its connections are closed.
#[must_use = "the stage is served only as long as this value lives"]
pub struct ServeGuard {
    accepting: AbortHandle,
    fetches: Arc<Mutex<Vec<StageFetch>>>,
}

impl ServeGuard {
    /// Stops, and tells what the stage has asked for, in order.
    pub fn finish(self) -> Vec<StageFetch> {
        std::mem::take(&mut self.fetches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ServeGuard {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// A proxy that gets what it lacks through `fetcher`, which has to live as long as a stage is served.
    pub fn new(fetcher: &Fetcher) -> Self {
        Self { shared: fetcher.shared().clone(), handle: fetcher.handle().clone() }
    }

    /// Serves `view` to the stage called `stage` on a socket that listens in the stage's own network.
    pub fn serve(
        &self,
        listener: TcpListener,
        stage: &str,
        view: Arc<ArchiveView>,
    ) -> Result<ServeGuard, PackageError> {
        let _runtime = self.handle.enter();
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener))
            .map_err(PackageError::Listen)?;
        let fetches = Arc::default();
        let server = Server { stage: stage.to_owned(), view, shared: self.shared.clone(), fetches };
        let fetches = server.fetches.clone();
        let accepting = self.handle.spawn(accept(listener, Arc::new(server))).abort_handle();
        Ok(ServeGuard { accepting, fetches })
    }
}

/// The connections are the task's own, so they end with it.
async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Either a connection came and went, or there are no descriptors left: that takes a moment to pass.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without this, each response on a kept connection waits for the client's delayed acknowledgement.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let server = server.clone();
        let service = service_fn(move |request| server.clone().serve(request));
        let mut http = http1::Builder::new();
        let http = http.timer(TokioTimer::new()).half_close(true).pipeline_flush(true);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async { drop(connection.await) });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one stage.
struct Server {
    stage: String,
    view: Arc<ArchiveView>,
    shared: Arc<Shared>,
    fetches: Arc<Mutex<Vec<StageFetch>>>,
}

/// An answer that is no file.
struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    fn new(status: StatusCode, text: impl fmt::Display) -> Self {
        Self { status, text: text.to_string() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Method(Method::CONNECT) | Refusal::Host(_) => StatusCode::FORBIDDEN,
            Refusal::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotProxied => StatusCode::BAD_REQUEST,
            Refusal::Path(_) => StatusCode::NOT_FOUND,
        };
        Self::new(status, refusal)
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        // apt tries again after 502 and 503, but not after 404.
        let status = match error.reason {
            FetchReason::NotFound(_) | FetchReason::Offline => StatusCode::NOT_FOUND,
            FetchReason::WrongBytes(_) | FetchReason::TooLarge(_) => StatusCode::BAD_GATEWAY,
            FetchReason::Status(_) | FetchReason::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            FetchReason::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        Self::new(status, format_args!("{error}: {}{hint}", error.reason))
    }
}

impl From<PackageError> for Problem {
    fn from(error: PackageError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl Server {
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ProxyBody>, Infallible> {
        let address = request.uri().to_string();
        let (sha256, verdict, response) = match self.respond(&request).await {
            Ok((sha256, verdict, response)) => (Some(sha256), verdict, response),
            Err(problem) => (None, Verdict::Refused(problem.status), self.refuse(&address, &problem)),
        };
        let fetch = StageFetch { address, sha256, verdict };
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).push(fetch);
        Ok(response)
    }

    async fn respond(
        &self,
        request: &Request<Incoming>,
    ) -> Result<(Sha256, Verdict, Response<ProxyBody>), Problem> {
        let target = Target::parse(request.method(), request.uri())?;
        let file = self.find(&target).await?;
        let sha256 = file.known.sha256;
        let stored = self.shared.has(&file).map_err(PackageError::from)?;
        let response = match request.method() {
            &Method::HEAD => send(head(StatusCode::OK, &file), ProxyBody::text("")),
            _ if stored => self.stored(request, &file)?,
            _ => return Ok((sha256, Verdict::Miss, self.coming(request, &file).await?)),
        };
        Ok((sha256, Verdict::Hit, response))
    }

    /// Asks the view, and gets it the indices that it needs for an answer.
    async fn find(&self, target: &Target) -> Result<ArchiveFile, Problem> {
        loop {
            match self.view.lookup(target.base, &target.path) {
                Lookup::File(file) => return Ok(file),
                Lookup::Missing(why) => {
                    let hint = "`ibuild update` takes up what is new in the archive";
                    return Err(Problem::new(StatusCode::NOT_FOUND, format_args!("{why} ({hint})")));
                }
                Lookup::Needs(indices) => {
                    for index in indices {
                        self.load(index).await?;
                    }
                }
            }
        }
    }

    async fn load(&self, index: ArchiveFile) -> Result<(), Problem> {
        self.shared.obtain(&index).await?;
        let view = self.view.clone();
        let loaded = tokio::task::spawn_blocking(move || view.load(&index)).await;
        Ok(loaded.expect("an index is read without a panic")?)
    }

    /// A file that is on its way. Whoever wants a part of it gets the whole.
    async fn coming(
        &self,
        request: &Request<Incoming>,
        file: &ArchiveFile,
    ) -> Result<Response<ProxyBody>, Problem> {
        let download = self.shared.join(file);
        let mut progress = download.follow();
        if file.known.size > STREAM_FROM {
            let begun = progress.wait_for(|p| p.written > 0 || p.outcome.is_some()).await;
            let is_live = begun.is_ok_and(|p| p.outcome.is_none());
            if is_live {
                let body = ProxyBody::live(download.follow(), file.known.size);
                return Ok(send(head(StatusCode::OK, file), body));
            }
        }
        download.await_outcome().await?;
        self.stored(request, file)
    }

    fn stored(
        &self,
        request: &Request<Incoming>,
        file: &ArchiveFile,
    ) -> Result<Response<ProxyBody>, Problem> {
        let ArchiveFile { known, .. } = file;
        let answer = match self.shared.is_tainted(&known.sha256) {
            true => Answer::Whole,
            false => answer(request.headers(), known),
        };
        let open = || {
            let missing = || PackageError::NotStored { path: file.path().to_owned(), sha256: known.sha256 };
            self.shared.store.open(&known.sha256)?.ok_or_else(missing)
        };
        Ok(match answer {
            Answer::Whole => {
                let body = ProxyBody::Stored { file: open()?, at: 0, end: known.size };
                send(head(StatusCode::OK, file), body)
            }
            Answer::Part { start, end } => {
                let range = format!("bytes {start}-{}/{}", end - 1, known.size);
                let body = ProxyBody::Stored { file: open()?, at: start, end };
                let head =
                    head(StatusCode::PARTIAL_CONTENT, file).header(header::CONTENT_LENGTH, end - start);
                send(head.header(header::CONTENT_RANGE, range), body)
            }
            Answer::NotModified => send(head(StatusCode::NOT_MODIFIED, file), ProxyBody::text("")),
            Answer::OutOfRange => {
                let text = format!("ibuild: {} has {} bytes\n", file.path(), known.size);
                let head = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE);
                let head = head.header(header::CONTENT_RANGE, format!("bytes */{}", known.size));
                send(head, ProxyBody::text(text))
            }
        })
    }

    fn refuse(&self, address: &str, problem: &Problem) -> Response<ProxyBody> {
        let Problem { status, text } = problem;
        let body = format!("ibuild: stage `{}` asked for {address}: {text}\n", self.stage);
        let response =
            Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        let response = match *status {
            StatusCode::METHOD_NOT_ALLOWED => response.header(header::ALLOW, "GET, HEAD"),
            _ => response,
        };
        send(response, ProxyBody::text(body))
    }
}

fn send(head: Builder, body: ProxyBody) -> Response<ProxyBody> {
    head.body(body).expect("numbers, dates and constants make valid headers")
}

/// The head of an answer about a file.
fn head(status: StatusCode, file: &ArchiveFile) -> Builder {
    let date = last_modified(&file.known.sha256).http_date();
    let head = Response::builder().status(status).header(header::LAST_MODIFIED, date);
    let head = head.header(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match status {
        StatusCode::OK => head.header(header::CONTENT_LENGTH, file.known.size),
        _ => head,
    }
}
