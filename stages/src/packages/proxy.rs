//! The proxy that shows a frozen view to the apt of a stage. It speaks HTTP as apt does and serves nothing but
//! what the view knows; every refusal has a body that says why, because apt retries on one and gives up without.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ibuild_cache::Sha256;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::PackageError;
use super::fetch::{Fetcher, Shared};
use super::server::Server;
use super::view::ArchiveView;

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
        let server = Arc::new(Server::new(stage, view, self.shared.clone()));
        let fetches = server.fetches();
        let accepting = self.handle.spawn(accept(listener, server)).abort_handle();
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
        // apt leaves a connection idle while it works on something else, so silence is no reason to close it.
        let mut http = http1::Builder::new();
        let http = http.header_read_timeout(None).half_close(true).pipeline_flush(true);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async { drop(connection.await) });
        while connections.try_join_next().is_some() {}
    }
}
