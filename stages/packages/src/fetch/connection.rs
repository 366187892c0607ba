//! Connections to mirrors: kept open between requests, given up when they stall, redirects followed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ibuild_debian::{Scheme, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fetch::connect_error::ConnectError;
use crate::fetch::tls::Tls;

const REDIRECTS: usize = 5;

type Sender = SendRequest<Empty<Bytes>>;

/// Whom a connection is to: host and port, and how they are spoken to.
type Peer = (Scheme, String, u16);

/// Open connections by whom they are to.
pub(crate) struct Connections {
    open: Mutex<HashMap<Peer, Vec<Sender>>>,
    stall: Duration,
    tls: Tls,
}

impl Connections {
    pub(crate) fn new(stall: Duration, tls: Tls) -> Self {
        Self { open: Mutex::default(), stall, tls }
    }

    /// Asks for a file from byte `start` on. The response is the final one, whatever its status.
    pub(crate) async fn get(&self, url: &Url, start: u64) -> Result<Response<Incoming>, ConnectError> {
        self.get_rest(url, start, None).await
    }

    /// The same; with a validator only if the file still is the one that it was given for. Otherwise the response is the whole
    /// file (RFC 9110, section 13.1.5).
    pub(crate) async fn get_rest(
        &self,
        url: &Url,
        start: u64,
        validator: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, ConnectError> {
        let (mut url, mut headers) = (url.clone(), HeaderMap::new());
        if start > 0 {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={start}-")).expect("it is ASCII"));
            headers.extend(validator.map(|validator| (IF_RANGE, validator.clone())));
        }
        for _ in 0..REDIRECTS {
            let response = self.ask(&url, &headers).await?;
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection()) {
                Some(location) => url = url.follow(location)?,
                None => return Ok(response),
            }
        }
        Err(ConnectError::RedirectLoop)
    }

    /// Asks once. The response may be a redirect.
    pub(crate) async fn ask(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, ConnectError> {
        if let Some(sender) = self.take_idle(url) {
            match self.send(sender, url, headers).await {
                // A kept connection may have been closed meanwhile, which only shows when it is used.
                Err(ConnectError::Io(_) | ConnectError::Http(_)) => {}
                answered => return answered,
            }
        }
        let sender = self.within(self.connect(url)).await?;
        self.send(sender, url, headers).await
    }

    async fn connect(&self, url: &Url) -> Result<Sender, ConnectError> {
        let (host, port) = url.address();
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match url.scheme() {
            Scheme::Http => converse(stream).await,
            Scheme::Https => converse(self.tls.secure(host, stream).await?).await,
        }
    }

    async fn send(
        &self,
        mut sender: Sender,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, ConnectError> {
        let response = self.within(async { Ok(sender.send_request(request(url, headers)).await?) }).await?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(key(url)).or_default().push(sender);
        Ok(response)
    }

    /// A connection that is not in the middle of a response.
    fn take_idle(&self, url: &Url) -> Option<Sender> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = open.get_mut(&key(url))?;
        senders.retain(|sender| !sender.is_closed());
        let idle = senders.iter().position(Sender::is_ready)?;
        Some(senders.swap_remove(idle))
    }

    /// Gives up on what takes longer than a mirror may stall.
    pub(crate) async fn within<T>(
        &self,
        act: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        timeout(self.stall, act).await.unwrap_or(Err(ConnectError::Stalled(self.stall)))
    }
}

fn key(url: &Url) -> Peer {
    let (host, port) = url.address();
    (url.scheme(), host.to_owned(), port)
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, ConnectError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; what went wrong is told to whoever waits for the response.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

fn request(url: &Url, headers: &HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::get(url.path())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("ibuild/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).expect("an address is a valid request")
}
