//! Answers the requests of one stage: finds out what is asked for, gets it, or says why not.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use ibuild_cache::Sha256;

use super::PackageError;
use super::answer::{Answer, answer};
use super::body::ProxyBody;
use super::fetch::{FetchError, FetchReason, Shared};
use super::proxy::{StageFetch, Verdict};
use super::response;
use super::target::{Refusal, Target};
use super::view::{ArchiveFile, ArchiveView, Lookup};

/// A file larger than this is sent while it comes; a smaller one once it is verified. apt waits 30 seconds for
/// the first byte, and the slowest line that is of any use brings this much in that time.
const STREAM_FROM: u64 = 1 << 20;

/// Serves one stage.
pub(super) struct Server {
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
    pub(super) fn new(stage: &str, view: Arc<ArchiveView>, shared: Arc<Shared>) -> Self {
        Self { stage: stage.to_owned(), view, shared, fetches: Arc::default() }
    }

    /// What has been answered so far.
    pub(super) fn fetches(&self) -> Arc<Mutex<Vec<StageFetch>>> {
        self.fetches.clone()
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ProxyBody>, Infallible> {
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
            &Method::HEAD => response::whole(&file, ProxyBody::text("")),
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
                return Ok(response::whole(file, body));
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
        let sha256 = file.known.sha256;
        let missing = || PackageError::NotStored { path: file.path().to_owned(), sha256 };
        let bytes = self.shared.store.open(&sha256).map_err(PackageError::from)?.ok_or_else(missing)?;
        let answer = match self.shared.is_tainted(&sha256) {
            true => Answer::Whole,
            false => answer(request.headers(), &file.known),
        };
        Ok(response::stored(file, bytes, answer))
    }

    fn refuse(&self, address: &str, problem: &Problem) -> Response<ProxyBody> {
        let text = format!("ibuild: stage `{}` asked for {address}: {}\n", self.stage, problem.text);
        response::refusal(problem.status, text)
    }
}
