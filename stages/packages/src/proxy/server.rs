//! Answers requests: finds out what is asked for, gets it, or says why not.
//!
//! One server serves both the frozen view of a stage and the live archive of `ibuild proxy`. `ServedArchive` decides what a
//! path means; lookup in the store, joined downloads and the answer are the same code.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::IF_RANGE;
use hyper::{Method, Request, Response, StatusCode};
use ibuild_debian::Known;

use crate::PackageError;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::content::Content;
use crate::fetch::download::Joined;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::shared::Shared;
use crate::proxy::access_record::{AccessObserver, AccessRecord, CacheStatus, WatchedBody};
use crate::proxy::body::ProxyBody;
use crate::proxy::found::{Found, Root, RootState};
use crate::proxy::live::page;
use crate::proxy::passthrough;
use crate::proxy::problem::Problem;
use crate::proxy::range::{Answer, answer};
use crate::proxy::response;
use crate::proxy::seats;
use crate::proxy::served_archive::ServedArchive;
use crate::proxy::target::Target;
use crate::proxy::tunnel::Tunnel;

/// A file larger than this is sent while it comes; a smaller one once it is verified. apt waits 30 seconds for
/// the first byte, and the slowest line that is of any use brings this much in that time.
const STREAM_FROM: u64 = 1 << 20;

/// Serves one site.
pub(crate) struct Server {
    site: ServedArchive,
    shared: Arc<Shared>,
    observer: Arc<dyn AccessObserver>,
}

/// An answer, and how it came about.
struct Answered {
    verdict: CacheStatus,
    file: Option<ArchiveFile>,
    problem: Option<String>,
    response: Response<ProxyBody>,
}

impl Server {
    pub(crate) fn new(site: ServedArchive, shared: Arc<Shared>, observer: Arc<dyn AccessObserver>) -> Self {
        Self { site, shared, observer }
    }

    /// Who is told of connections.
    pub(crate) fn observer(&self) -> &dyn AccessObserver {
        &*self.observer
    }

    /// Whether a client may ask.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        self.site.clients().admit(client)
    }

    /// How many connections an address may have at a time. A stage has one address, and no neighbours.
    pub(crate) fn most_of_an_address(&self) -> usize {
        match self.site {
            ServedArchive::Stage { .. } => seats::ALL,
            ServedArchive::LiveArchive(_) => seats::ALL / 4,
        }
    }

    /// The tunnel that a request asks for, where there is one.
    pub(crate) fn tunnel(&self, request: &mut Request<Incoming>) -> Option<Tunnel> {
        self.site.tls()?.tunnel(request)
    }

    /// Tells a client why it is not served.
    pub(crate) async fn turn_away(
        self: Arc<Self>,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<WatchedBody>, Infallible> {
        let problem = match self.admits(client) {
            false => Problem::new(StatusCode::FORBIDDEN, "this proxy does not serve your address"),
            true => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format_args!("your address has {} connections already", self.most_of_an_address()),
            ),
        };
        let (address, method) = (request.uri().to_string(), request.method().to_string());
        let refused = self.refuse(client, &address, problem);
        Ok(self.watched(client, method, address, refused, Instant::now()))
    }

    /// Answers a client that may ask.
    pub(crate) async fn serve(
        self: Arc<Self>,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<WatchedBody>, Infallible> {
        let since = Instant::now();
        let (address, method) = (request.uri().to_string(), request.method().to_string());
        if let Some(page) = self.site.statistics().and_then(|numbers| page::answer(&request, numbers)) {
            return Ok(page.map(WatchedBody::unwatched));
        }
        let answered = self.respond(client, &request).await;
        let answered = answered.unwrap_or_else(|problem| self.refuse(client, &address, problem));
        Ok(self.watched(client, method, address, answered, since))
    }

    /// An answer whose end will be told.
    fn watched(
        &self,
        client: IpAddr,
        method: String,
        address: String,
        answered: Answered,
        since: Instant,
    ) -> Response<WatchedBody> {
        let Answered { verdict, file, problem, response } = answered;
        let status = response.status();
        let exchange = AccessRecord { client, method, address, status, file, verdict, problem };
        response.map(|body| WatchedBody::of(exchange, body, since, &self.observer))
    }

    async fn respond(&self, client: IpAddr, request: &Request<Incoming>) -> Result<Answered, Problem> {
        let target = Target::parse(request.method(), request.uri(), self.site.addresses())?;
        match self.site.find(&self.shared, &target).await? {
            Found::File(file) => self.file(client, request, &file).await,
            Found::Root(root) => Ok(self.root(client, request, root)),
            Found::Unlisted => self.pass(request, &target).await,
        }
    }

    async fn file(
        &self,
        client: IpAddr,
        request: &Request<Incoming>,
        file: &ArchiveFile,
    ) -> Result<Answered, Problem> {
        let content = match self.shared.content(file).await {
            Ok(content) => content,
            Err(e) => return self.unkept(file, FetchReason::explain(&e)).await,
        };
        let response = match content {
            _ if request.method() == Method::HEAD => response::whole(&file.known, ProxyBody::text("")),
            Some(content) => {
                response::at_hand(&file.known, content, self.answer(client, request, &file.known))
            }
            None => return self.coming(client, request, file).await,
        };
        Ok(Answered { verdict: CacheStatus::Hit, file: Some(file.clone()), problem: None, response })
    }

    /// A file that is on its way. Whoever wants a part of it gets that part, as from a file that is here.
    async fn coming(
        &self,
        client: IpAddr,
        request: &Request<Incoming>,
        file: &ArchiveFile,
    ) -> Result<Answered, Problem> {
        let (download, joined) = self.shared.join(file);
        let verdict = if joined == Joined::Begun { CacheStatus::Miss } else { CacheStatus::Joined };
        let answered = |response| Answered { verdict, file: Some(file.clone()), problem: None, response };
        let mut progress = download.follow();
        if file.known.size > STREAM_FROM {
            let begun = progress.wait_for(|p| p.written > 0 || p.outcome.is_some()).await;
            let begun = begun.ok().filter(|p| p.outcome.is_none()).map(|p| p.generation);
            if let Some(generation) = begun {
                // RequestTrace after that: what a client has is of these bytes, or it is known not to be right.
                let answer = self.answer(client, request, &file.known);
                let part = |start, end| ProxyBody::downloading(download.follow(), generation, start..end);
                return Ok(answered(response::answered(&file.known, answer, part)));
            }
        }
        match download.await_outcome().await {
            Ok(()) => {}
            Err(FetchError { reason: FetchReason::Store(e), .. }) => {
                return self.unkept(file, FetchReason::explain(&e)).await;
            }
            Err(e) => return Err(e.into()),
        }
        let (path, sha256) = (file.path().to_owned(), file.known.sha256);
        let bytes = self.shared.open(file).await.map_err(PackageError::from)?;
        let bytes = bytes.ok_or(PackageError::NotStored { path, sha256 })?;
        let answer = self.answer(client, request, &file.known);
        Ok(answered(response::at_hand(&file.known, Content::File(bytes), answer)))
    }

    /// A file that the store cannot keep goes through all the same, and is verified on the way.
    async fn unkept(&self, file: &ArchiveFile, why: String) -> Result<Answered, Problem> {
        let body = passthrough::verified(&self.shared, file).await?;
        Ok(Answered {
            verdict: CacheStatus::Passed,
            file: Some(file.clone()),
            problem: Some(format!("it could not be kept: {why}")),
            response: response::whole(&file.known, body),
        })
    }

    /// What of a file to send. A part that a client continues may not be one of wrong bytes.
    fn answer(&self, client: IpAddr, request: &Request<Incoming>, known: &Known) -> Answer {
        let mut handed_out = self.shared.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        let may_continue = match request.headers().contains_key(IF_RANGE) {
            true => handed_out.may_continue(client, known.sha256),
            false => handed_out.is_right(&known.sha256),
        };
        handed_out.send(client, known.sha256);
        if may_continue { answer(request.headers(), known) } else { Answer::Whole }
    }

    fn root(&self, client: IpAddr, request: &Request<Incoming>, root: Root) -> Answered {
        let Root { file, signed, state } = root;
        let known = file.known;
        let (verdict, problem) = match state {
            RootState::Fetched => (CacheStatus::Miss, None),
            RootState::Recent => (CacheStatus::Hit, None),
            RootState::Stale(why) => (CacheStatus::Stale, Some(why)),
        };
        let response = match request.method() {
            &Method::HEAD => response::whole(&known, ProxyBody::text("")),
            _ => response::at_hand(&known, Content::Memory(signed), self.answer(client, request, &known)),
        };
        Answered { verdict, file: Some(file), problem, response }
    }

    async fn pass(&self, request: &Request<Incoming>, target: &Target) -> Result<Answered, Problem> {
        let passed = passthrough::passed(&self.shared, &target.base, &target.path, request.headers()).await?;
        let response = match request.method() {
            &Method::HEAD => passed.map(|_| ProxyBody::text("")),
            _ => passed,
        };
        Ok(Answered { verdict: CacheStatus::Passed, file: None, problem: None, response })
    }

    fn refuse(&self, client: IpAddr, address: &str, problem: Problem) -> Answered {
        let text = format!("{}: {}\n", self.site.complaint(client, address), problem.text);
        let response = response::refusal(problem.status, text);
        let verdict = CacheStatus::Refused(problem.status);
        Answered { verdict, file: None, problem: Some(problem.text), response }
    }
}
