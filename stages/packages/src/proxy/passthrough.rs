//! What goes from a mirror to a client without being kept: files that the store has no room for, and files that no signed
//! index is about.
//!
//! A file that a signed index lists is hashed on the way, and its end is held back until the digest matches. Other
//! files are passed on unverified by the stand-alone proxy only, and are never stored.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Response, StatusCode};
use ibuild_cache::{Digest, Sha256};
use ibuild_debian::{Base, Known, Url};
use tokio::sync::mpsc;

use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::download::check_head;
use crate::fetch::fetch_error::{FetchError, FetchReason};
use crate::fetch::shared::{Shared, refusal};
use crate::fetch::upstream::Upstream;
use crate::proxy::body::{ProxyBody, TAIL};

/// What of a client's request means something to a mirror.
const ASKED: [HeaderName; 4] =
    [header::RANGE, header::IF_RANGE, header::IF_MODIFIED_SINCE, header::CACHE_CONTROL];

/// What of a mirror's answer means something to a client.
const TOLD: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::LAST_MODIFIED,
    header::ACCEPT_RANGES,
    header::LOCATION,
];

/// Pieces on their way from a mirror to a client.
const PIECES: usize = 4;

/// The body of a file that is known and cannot be kept. As with a download, the tail is held back until the digest is
/// right.
pub(crate) async fn verified(shared: &Arc<Shared>, file: &ArchiveFile) -> Result<ProxyBody, FetchError> {
    let known = file.known;
    let of_file = |mirror: &Url| file.paths.iter().map(|path| mirror.join(path)).collect();
    let check = |response: &Response<Incoming>| check_head(response, 0, known.size).map(drop);
    let response =
        open(shared, &urls(shared, &file.base, file.path(), of_file)?, &HeaderMap::new(), check).await?;
    let (sender, chunks) = mpsc::channel(PIECES);
    let pump = Pump { shared: shared.clone(), body: response.into_body(), sender };
    tokio::spawn(pump.verified(known));
    Ok(ProxyBody::Coming { chunks, left: Some(known.size) })
}

/// The bytes of a file that is known and cannot be kept.
pub(crate) async fn in_memory(shared: &Arc<Shared>, file: &ArchiveFile) -> Result<Bytes, FetchError> {
    let come = verified(shared, file).await?.collect().await;
    let what = file.path().to_owned();
    come.map(|body| body.to_bytes())
        .map_err(|e| FetchError { what, reason: FetchReason::WrongBytes(FetchReason::explain(&e)) })
}

/// A mirror's own answer to a request for a file that nothing is known about. Redirects are the client's to follow: it
/// then asks for an address that may be refused.
pub(crate) async fn passed(
    shared: &Arc<Shared>,
    base: &Base,
    path: &str,
    asked: &HeaderMap,
) -> Result<Response<ProxyBody>, FetchError> {
    let urls = urls(shared, base, path, |mirror| vec![mirror.join(path)])?;
    let mut headers = HeaderMap::new();
    ASKED.iter().for_each(|name| copy(asked, &mut headers, name));
    let check = |response: &Response<Incoming>| match response.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => Ok(()),
        status if status.is_client_error() || status.is_server_error() => Err(refusal(status)),
        _ => Ok(()),
    };
    let response = open(shared, &urls, &headers, check).await?;
    let mut told = Response::builder().status(response.status());
    if let Some(headers) = told.headers_mut() {
        TOLD.iter().for_each(|name| copy(response.headers(), headers, name));
    }
    let left = length_of(&response);
    let (sender, chunks) = mpsc::channel(PIECES);
    tokio::spawn(Pump { shared: shared.clone(), body: response.into_body(), sender }.unverified());
    Ok(told.body(ProxyBody::Coming { chunks, left }).expect("a mirror's headers were valid there"))
}

/// An answer of this status has no body, whatever its headers say about a length.
fn length_of(response: &Response<Incoming>) -> Option<u64> {
    match response.status() {
        StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => Some(0),
        _ => hyper::body::Body::size_hint(response.body()).exact(),
    }
}

fn copy(from: &HeaderMap, into: &mut HeaderMap, name: &HeaderName) {
    if let Some(value) = from.get(name) {
        into.insert(name, value.clone());
    }
}

fn urls(
    shared: &Shared,
    base: &Base,
    path: &str,
    under: impl Fn(&Url) -> Vec<Url>,
) -> Result<Vec<Url>, FetchError> {
    match &shared.upstream {
        Upstream::Mirrors(mirrors) => Ok(mirrors.urls(base).iter().flat_map(under).collect()),
        Upstream::Offline(_) => Err(FetchError { what: path.to_owned(), reason: FetchReason::Offline }),
    }
}

/// The first answer that is good.
async fn open(
    shared: &Shared,
    urls: &[Url],
    headers: &HeaderMap,
    check: impl Fn(&Response<Incoming>) -> Result<(), FetchReason>,
) -> Result<Response<Incoming>, FetchError> {
    let mut told = None;
    for url in urls {
        let response = shared.connections.ask(url, headers).await.map_err(FetchReason::from);
        match response.and_then(|response| check(&response).map(|()| response)) {
            Ok(response) => return Ok(response),
            Err(reason) => told = told.or(Some(FetchError { what: url.to_string(), reason })),
        }
    }
    Err(told.expect("there is a mirror"))
}

/// Carries a body from a mirror to a client.
struct Pump {
    shared: Arc<Shared>,
    body: Incoming,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Pump {
    async fn unverified(mut self) {
        while let Some(piece) = self.next().await {
            let is_last = piece.is_err();
            if self.sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn verified(mut self, known: Known) {
        // However it ends, what a client keeps of it may be wrong.
        self.shared.taint(known.sha256);
        let mut hasher = <Sha256 as Digest>::Hasher::default();
        let (mut held, mut holding, mut come) = (VecDeque::new(), 0, 0);
        while let Some(piece) = self.next().await {
            let piece = match piece {
                Ok(piece) if come + piece.len() as u64 <= known.size => piece,
                Ok(_) => {
                    return self.give_up(io::Error::other("the mirror sends more than was announced")).await;
                }
                Err(e) => return self.give_up(e).await,
            };
            Sha256::update(&mut hasher, &piece);
            come += piece.len() as u64;
            holding += piece.len() as u64;
            held.push_back(piece);
            while held.front().is_some_and(|first: &Bytes| holding - first.len() as u64 >= TAIL) {
                let first = held.pop_front().expect("it was looked at");
                holding -= first.len() as u64;
                if self.sender.send(Ok(first)).await.is_err() {
                    return;
                }
            }
        }
        if Sha256::finish(hasher) != known.sha256 {
            let wrong = io::Error::other("the mirror sent other bytes than the signed indices name");
            return self.give_up(wrong).await;
        }
        for piece in held {
            let _ = self.sender.send(Ok(piece)).await;
        }
    }

    /// The client sees a broken connection; that it may have left is no matter.
    async fn give_up(self, error: io::Error) {
        let _ = self.sender.send(Err(error)).await;
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let body = &mut self.body;
        let frame = self.shared.connections.within(async { Ok(body.frame().await.transpose()?) }).await;
        match frame {
            Ok(frame) => frame.map(|frame| Ok(frame.into_data().unwrap_or_default())),
            Err(e) => Some(Err(io::Error::other(FetchReason::from(e)))),
        }
    }
}
