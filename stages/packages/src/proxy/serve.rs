//! The proxy that shows an archive to apt: a frozen one to a stage, or the living one to whole machines. It speaks HTTP as
//! apt does; every refusal has a body that says why, because apt retries on one and gives up without.
//!
//! One task for each connection, on the threads of a fetcher: connections wait most of their time, and a thread for each
//! would be all that they need memory for.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::PackageError;
use crate::archive::view::ArchiveView;
use crate::fetch::fetcher::Fetcher;
use crate::fetch::shared::Shared;
use crate::proxy::access_record::{AccessObserver, StageFetch, StageFetches, WatchedBody};
use crate::proxy::address::Addresses;
use crate::proxy::live::LiveArchive;
use crate::proxy::response;
use crate::proxy::seats::Seats;
use crate::proxy::served_archive::ServedArchive;
use crate::proxy::server::Server;
use crate::proxy::tunnel::{StageTls, Tunnel, addressed};

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long a client may be silent between requests. apt leaves a connection idle while it works on something else.
const SILENCE: Duration = Duration::from_secs(600);

/// How long a client may take to ask for the first thing: it has connected because it wants something.
const FIRST: Duration = Duration::from_secs(30);

/// How long somebody who is not served has to hear why.
const FAREWELL: Duration = Duration::from_secs(5);

/// The longest head of a request. Also what of an answer may wait before no more of it is read: a client that does not read
/// holds one piece of a file, and not the file. (With hyper's `pipeline_flush` it would be the file.)
const BUFFER: usize = 64 << 10;

/// The largest segment that is sent, which any network carries. On loopback it would be 64 KiB: a client that reads more slowly
/// than it is sent to has no room for another one most of the time, waits for 40 ms before it says that it has some, and
/// is sent nothing meanwhile. apt with pipelined requests spends up to half of its time so.
const SEGMENT: u32 = 1460;

/// Serves archives, on the threads of a fetcher.
pub struct Proxy {
    shared: Arc<Shared>,
    handle: Handle,
}

/// A stage being served. Dropped, it stops: the listener and all of its connections are closed.
#[must_use = "the stage is served only as long as this value lives"]
pub struct ServeGuard {
    _accepting: Accepting,
    fetches: Arc<StageFetches>,
}

impl ServeGuard {
    /// Stops, and tells what the stage has asked for, in order.
    pub fn finish(self) -> Vec<StageFetch> {
        self.fetches.take()
    }

    /// What the stage asks for, also when this value is gone.
    pub fn fetches(&self) -> Arc<StageFetches> {
        self.fetches.clone()
    }
}

/// The living archive being served. Dropped, it stops: the listener and all of its connections are closed.
#[must_use = "the archive is served only as long as this value lives"]
pub struct LiveGuard {
    _accepting: Accepting,
}

struct Accepting(AbortHandle);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Proxy {
    /// A proxy that gets what it lacks through `fetcher`, which has to live as long as anybody is served.
    pub fn new(fetcher: &Fetcher) -> Self {
        Self { shared: fetcher.shared().clone(), handle: fetcher.handle().clone() }
    }

    /// Serves `view` to the stage called `stage` on a socket that listens in the stage's own network. Whoever believes the
    /// authority of `tls` is served by https as well.
    pub fn serve(
        &self,
        listener: TcpListener,
        stage: &str,
        view: Arc<ArchiveView>,
        tls: StageTls,
    ) -> Result<ServeGuard, PackageError> {
        let fetches = Arc::<StageFetches>::default();
        let addresses = Addresses::of(&view);
        let site = ServedArchive::Stage { name: stage.to_owned(), view, addresses, tls };
        let accepting = self.start(listener, site, fetches.clone())?;
        Ok(ServeGuard { _accepting: accepting, fetches })
    }

    /// Serves the living archive to everybody who may ask and reaches the socket.
    pub fn serve_live(
        &self,
        listener: TcpListener,
        live: LiveArchive,
        observer: Arc<dyn AccessObserver>,
    ) -> Result<LiveGuard, PackageError> {
        let accepting = self.start(listener, ServedArchive::LiveArchive(Arc::new(live)), observer)?;
        Ok(LiveGuard { _accepting: accepting })
    }

    fn start(
        &self,
        listener: TcpListener,
        site: ServedArchive,
        observer: Arc<dyn AccessObserver>,
    ) -> Result<Accepting, PackageError> {
        let _runtime = self.handle.enter();
        let listener = prepare(listener).map_err(PackageError::Listen)?;
        let server = Arc::new(Server::new(site, self.shared.clone(), observer));
        Ok(Accepting(self.handle.spawn(accept(listener, server)).abort_handle()))
    }
}

/// What is set here holds for each connection from its first packet on.
fn prepare(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    setsockopt(&listener, sockopt::TcpMaxSeg, &SEGMENT)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// The connections are the task's own, so they end with it. Who may not ask takes no seat of those who may.
async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>) {
    let (mut connections, seats) = (JoinSet::new(), Seats::new(server.most_of_an_address()));
    loop {
        let room = seats.room().await;
        let Ok((stream, peer)) = listener.accept().await else {
            // Either a connection came and went, or there are no descriptors left: that takes a moment to pass.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (client, server) = (peer.ip(), server.clone());
        let seat = if server.admits(client) { seats.take(room, client) } else { None };
        if let Some(seat) = seat {
            connections.spawn(async move {
                let _seat = seat;
                let present = Present::of(&server);
                converse(stream, client, &server).await;
                drop(present);
            });
        } else if let Some(aside) = seats.aside() {
            connections.spawn(async move {
                let _aside = aside;
                turn_away(stream, client, &server).await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Says once why somebody is not served.
async fn turn_away(stream: TcpStream, client: IpAddr, server: &Arc<Server>) {
    let service = service_fn(|request| server.clone().turn_away(client, request));
    let connection = http().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = timeout(FAREWELL, connection).await;
}

async fn converse(stream: TcpStream, client: IpAddr, server: &Arc<Server>) {
    // Without this, each response on a kept connection waits for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (opened, asked) = (Mutex::new(None), AtomicBool::new(false));
    let service = service_fn(|mut request| {
        asked.store(true, Ordering::Relaxed);
        let tunnel = server.tunnel(&mut request);
        let (server, opened) = (server.clone(), &opened);
        async move {
            match tunnel {
                Some(tunnel) => {
                    *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
                    Ok(response::tunnel().map(WatchedBody::unwatched))
                }
                None => server.serve(client, request).await,
            }
        }
    });
    {
        let connection = http().serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = pin!(connection);
        if timeout(FIRST, &mut connection).await.is_err() {
            if !asked.load(Ordering::Relaxed) {
                return;
            }
            let _ = connection.await;
        }
    }
    if let Some(tunnel) = opened.into_inner().unwrap_or_else(PoisonError::into_inner) {
        converse_in(tunnel, client, server).await;
    }
}

/// What is said in a tunnel is as good as if it were said to the proxy itself.
async fn converse_in(tunnel: Tunnel, client: IpAddr, server: &Arc<Server>) {
    let Tunnel { authority, acceptor, upgrade } = tunnel;
    let Ok(stream) = upgrade.await else { return };
    let Ok(Ok(stream)) = timeout(FIRST, acceptor.accept(TokioIo::new(stream))).await else { return };
    let service = service_fn(|request| server.clone().serve(client, addressed(request, &authority)));
    drop(http().serve_connection(TokioIo::new(stream), service).await);
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE).half_close(true).max_buf_size(BUFFER);
    http
}

/// A client that is connected, also if its task is dropped.
struct Present<'s>(&'s Server);

impl<'s> Present<'s> {
    fn of(server: &'s Server) -> Self {
        server.observer().connected();
        Self(server)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.observer().disconnected();
    }
}
